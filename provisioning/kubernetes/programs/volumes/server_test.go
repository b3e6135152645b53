package main

import (
	"io"
	"net"
	"strings"
	"testing"
)

// serve answers one call with `reply`, and returns its address.
func serve(t *testing.T, reply []byte) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		defer connection.Close()
		if _, err := io.ReadFull(connection, make([]byte, len(lookupCall(lockName)))); err == nil {
			connection.Write(reply)
		}
	}()
	return listener.Addr().String()
}

func record(numbers ...uint32) []byte {
	var made words
	made.add(lastFragment | uint32(4*len(numbers)))
	made.add(numbers...)
	return made
}

func TestOnlyASuccessfulLookupIsAnAnswer(t *testing.T) {
	for name, one := range map[string]struct {
		reply   []byte
		problem string
	}{
		"found":        {record(transactionID, 1, 0, 0, 0, 0, 0, 0, 2, opPutRootHandle, 0, opLookup, 0), ""},
		"a verifier":   {record(transactionID, 1, 0, 1, 4, 99, 0, 0, 0, 2), ""},
		"not found":    {record(transactionID, 1, 0, 0, 0, 0, 2, 0, 2, opPutRootHandle, 0, opLookup, 2), "NFS error 2"},
		"no program":   {record(transactionID, 1, 0, 0, 0, 1), "status 1"},
		"denied":       {record(transactionID, 1, 1, 1, 1), "denied"},
		"another call": {record(transactionID+1, 1, 0, 0, 0, 0, 0), "denied"},
		"cut off":      {record(transactionID, 1, 0, 0), "not accepted"},
		"empty":        {record(), "denied"},
		"too long":     {[]byte{0x80, 1, 0, 0}, "65536 bytes"},
		"no reply":     {nil, "EOF"},
	} {
		err := lookUp(serve(t, one.reply), lockName)
		switch {
		case one.problem == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case one.problem != "" && (err == nil || !strings.Contains(err.Error(), one.problem)):
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := lookUp("127.0.0.1:1", lockName); err == nil {
		t.Error("an answer without a server")
	}
}

func TestACallIsOneRecordOfWholeWords(t *testing.T) {
	for _, name := range []string{"", "a", "abcd", lockName} {
		call := lookupCall(name)
		if len(call)%4 != 0 || int(call[2])<<8|int(call[3]) != len(call)-4 || call[0] != 0x80 {
			t.Errorf("%q: % x", name, call)
		}
	}
}
