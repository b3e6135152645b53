package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
)

// A pod runs as any user.
const folderMode = 0o777

const trashName = ".trash"

var ownName = regexp.MustCompile(`^pvc-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// Folders are the directories of this node's volumes. What is to be removed is moved to the trash first: however long its removal takes,
// and wherever it is interrupted, a volume is whole or gone.
type Folders struct {
	root string
	disk disk
	// Referred to, because a file that is collected is closed, and its lock freed.
	locked *os.File
}

// disk makes changes that outlive a power cut as soon as they have returned.
type disk interface {
	MakeFolder(path string, mode fs.FileMode) error
	Rename(from, to string) error
	// RemoveEmpty does nothing where the folder holds something.
	RemoveEmpty(path string) error
	RemoveTree(path string) error
}

// lock waits until no other process has it; the kernel keeps it until this process ends.
func (f *Folders) lock() error {
	file, err := os.OpenFile(filepath.Join(f.root, ".lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f.locked = file
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
}

func (f *Folders) make(name string) error {
	return f.disk.MakeFolder(filepath.Join(f.root, name), folderMode)
}

// discard moves the volume's directory to the trash, and says whether it is gone from there as well.
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

// emptyTrash says how many trees it removed, and returns the last failure.
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

// empty are the directories that could be a volume's, and hold nothing.
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
