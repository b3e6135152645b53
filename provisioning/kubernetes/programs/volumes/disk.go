package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

type localDisk struct{}

func (localDisk) MakeFolder(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Independent of the umask.
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return sync(path, filepath.Dir(path))
}

func (localDisk) Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return sync(filepath.Dir(from), filepath.Dir(to))
}

func (localDisk) RemoveEmpty(path string) error {
	err := syscall.Rmdir(path)
	if err == nil || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return &fs.PathError{Op: "rmdir", Path: path, Err: err}
}

func (localDisk) RemoveTree(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return sync(filepath.Dir(path))
}

func sync(folders ...string) error {
	for _, path := range folders {
		folder, err := os.Open(path)
		if err != nil {
			return err
		}
		err = folder.Sync()
		folder.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
