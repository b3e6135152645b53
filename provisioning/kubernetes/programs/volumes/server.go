package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	serverTimeout = 5 * time.Second
	// maxReply is more than the reply to LOOKUP has.
	maxReply = 4096

	nfsProgram, nfsVersion, compoundProcedure = 100003, 4, 1
	authSys                                   = 1
	opLookup, opPutRootHandle                 = 15, 24
)

// lookUp asks the NFS server for `name` in the root of its export, without a session: NFS version 4.0 (RFC 7530). Without
// the export, the server has another root.
func lookUp(address, name string) error {
	connection, err := net.DialTimeout("tcp", address, serverTimeout)
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(serverTimeout)); err != nil {
		return err
	}
	if _, err := connection.Write(lookupCall(name)); err != nil {
		return err
	}
	var mark [4]byte
	if _, err := io.ReadFull(connection, mark[:]); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(mark[:]) &^ lastFragment
	if length > maxReply {
		return fmt.Errorf("a reply of %d bytes", length)
	}
	reply := make([]byte, length)
	if _, err := io.ReadFull(connection, reply); err != nil {
		return err
	}
	return replyError(reply)
}

const (
	lastFragment  = 1 << 31
	transactionID = 1
)

func lookupCall(name string) []byte {
	var call words
	call.add(transactionID, 0, 2, nfsProgram, nfsVersion, compoundProcedure)
	// Credentials of root: stamp, name of the machine, user, group, no more groups; then no verifier.
	call.add(authSys, 20, 0, 0, 0, 0, 0, 0, 0)
	// An empty tag, minor version 0, two operations.
	call.add(0, 0, 2, opPutRootHandle, opLookup)
	call.addText(name)
	var record words
	record.add(lastFragment | uint32(len(call)))
	return append(record, call...)
}

// replyError returns nil for an accepted call of which all operations succeeded.
func replyError(reply []byte) error {
	next := func() (word uint32) {
		if len(reply) >= 4 {
			word = binary.BigEndian.Uint32(reply)
			reply = reply[4:]
			return word
		}
		reply = nil
		return ^uint32(0)
	}
	if id, kind, denied := next(), next(), next(); id != transactionID || kind != 1 || denied != 0 {
		return errors.New("the call was denied")
	}
	next() // the flavour of the verifier
	if length := next(); length <= uint32(len(reply)) {
		reply = reply[length:]
	}
	if status := next(); status != 0 {
		return fmt.Errorf("the call was not accepted: status %d", status)
	}
	if status := next(); status != 0 {
		return fmt.Errorf("NFS error %d", status)
	}
	return nil
}

// words is a message of the XDR standard (RFC 4506).
type words []byte

func (w *words) add(numbers ...uint32) {
	for _, one := range numbers {
		*w = append(*w, byte(one>>24), byte(one>>16), byte(one>>8), byte(one))
	}
}

func (w *words) addText(text string) {
	w.add(uint32(len(text)))
	*w = append(*w, text...)
	*w = append(*w, make([]byte, -len(text)&3)...)
}
