package rand

import (
	"crypto/rand"
	"encoding/binary"
)

// kernelSource draws random numbers from the kernel. Kubernetes makes the names of objects, generateName's among them,
// by a generator that each process seeds once, at its start. That state is in the memory from which a fork goes on: all
// forks of a cluster would make the same names. The kernel of a fork has seeded its own numbers anew.
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
