package rand

import (
	"crypto/rand"
	"encoding/binary"
)

// kernelSource draws random numbers from the kernel. Kubernetes generates names of objects (generateName) with a
// generator that each process seeds once, at its start. The generator's state is part of a template's memory, so all
// forks would generate the same names. The kernel of each fork is reseeded.
type kernelSource struct{}

func (kernelSource) Uint64() uint64 {
	var bytes [8]byte
	if _, err := rand.Read(bytes[:]); err != nil {
		panic(err)
	}
	return binary.LittleEndian.Uint64(bytes[:])
}

func (source kernelSource) Int63() int64 { return int64(source.Uint64() >> 1) }

func (kernelSource) Seed(int64) { panic("the kernel seeds its random numbers itself") }
