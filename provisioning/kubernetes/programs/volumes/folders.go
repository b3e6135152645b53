package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
)

// Pods run as any user.
const folderMode = 0o777

const (
	trashName = ".trash"
	lockName  = ".lock"
)

var ownName = regexp.MustCompile(`^pvc-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// Folders are the directories of this node's volumes. A removal first moves the directory to the trash: an interrupted
// removal leaves no partial volume.
type Folders struct {
	root string
	disk disk
	// Keeps the lock file referenced: garbage collection would close the file and free the lock.
	locked *os.File
}

// disk makes changes that are durable when its methods return.
type disk interface {
	MakeFolder(path string, mode fs.FileMode) error
	Rename(from, to string) error
	// RemoveEmpty removes the folder if it is empty.
	RemoveEmpty(path string) error
	RemoveTree(path string) error
}

// lock waits for the lock. The kernel frees the lock when this process ends.
func (f *Folders) lock() error {
	file, err := os.OpenFile(filepath.Join(f.root, lockName), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f.locked = file
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
}

func (f *Folders) make(name string) error {
	return f.disk.MakeFolder(filepath.Join(f.root, name), folderMode)
}

// discard moves the volume's directory to the trash, and reports whether the trash no longer has it.
func (f *Folders) discard(name string) (gone bool, err error) {
	trashed := filepath.Join(f.root, trashName, name)
	if exists, err := exists(trashed); exists || err != nil {
		return false, err
	}
	here := filepath.Join(f.root, name)
	if exists, err := exists(here); !exists || err != nil {
		return err == nil, err
	}
	if err := f.disk.MakeFolder(filepath.Join(f.root, trashName), 0o700); err != nil {
		return false, err
	}
	return false, f.disk.Rename(here, trashed)
}

// emptyTrash returns the number of removed trees, and the last failure.
func (f *Folders) emptyTrash() (removed int, err error) {
	trash := filepath.Join(f.root, trashName)
	names, err := namesIn(trash)
	for _, name := range names {
		if failed := f.disk.RemoveTree(filepath.Join(trash, name)); failed != nil {
			err = failed
		} else {
			removed++
		}
	}
	return removed, err
}

// empty returns the empty directories with a name of a volume.
func (f *Folders) empty() ([]string, error) {
	names, err := namesIn(f.root)
	var found []string
	for _, name := range names {
		if !ownName.MatchString(name) {
			continue
		}
		if inside, err := namesIn(filepath.Join(f.root, name)); err == nil && len(inside) == 0 {
			found = append(found, name)
		}
	}
	return found, err
}

func (f *Folders) removeEmpty(name string) error {
	return f.disk.RemoveEmpty(filepath.Join(f.root, name))
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func namesIn(folder string) ([]string, error) {
	opened, err := os.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	return opened.Readdirnames(-1)
}
