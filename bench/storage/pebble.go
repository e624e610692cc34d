package main

import (
	"bufio"
	"errors"
	"io"
	"path/filepath"
	"sync"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleStore is the writer of pebble's logs, set up as pebble does. In the page cache it is record.Writer, flushed at the end of every batch. On the disk it is record.LogWriter, whose goroutine
// writes and syncs, with a group commit; by itself that one acknowledges before anything is written.
type pebbleStore struct {
	file   vfs.File
	name   string
	writer *record.Writer
	log    *record.LogWriter
	buf    []byte
}

// pebblePreallocate is what pebble reserves at a time for its log with memtables of the default size, 4 MiB and a tenth.
const pebblePreallocate = 4<<20 + 4<<20/10

func pebbleName(dir string) string { return filepath.Join(dir, "000001.log") }

func openPebble(dir string, o options) (store, error) {
	f, err := vfs.Default.Create(pebbleName(dir), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	f = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{NoSyncOnClose: !o.durable, PreallocateSize: pebblePreallocate})
	s := &pebbleStore{file: f, name: pebbleName(dir)}
	if o.durable {
		s.log = record.NewLogWriter(f, 1, record.LogWriterConfig{WriteWALSyncOffsets: func() bool { return false }})
	} else {
		s.writer = record.NewWriter(f)
	}
	return s, nil
}

// reopenPebble reads a log from start to end, which is how pebble finds out what is in it. It then begins another.
func reopenPebble(dir string) (store, error) {
	s := &pebbleStore{name: pebbleName(dir)}
	return s, s.scan(func([]byte) bool { return true })
}

func (s *pebbleStore) append(b *batch) error {
	if s.log == nil {
		return s.write(b)
	}
	return s.syncRecord(b, &sync.Mutex{})
}

func (s *pebbleStore) write(b *batch) error {
	for _, v := range b.values {
		w, err := s.writer.Next()
		if err != nil {
			return err
		}
		if _, err := w.Write(v); err != nil {
			return err
		}
	}
	return s.writer.Flush()
}

// syncRecord writes a batch under mu, asks for a sync with its last record, and waits for that.
func (s *pebbleStore) syncRecord(b *batch, mu *sync.Mutex) error {
	var (
		synced sync.WaitGroup
		failed error
	)
	synced.Add(1)
	mu.Lock()
	last := len(b.values) - 1
	for _, v := range b.values[:last] {
		if _, err := s.log.WriteRecord(v); err != nil {
			mu.Unlock()
			return err
		}
	}
	_, err := s.log.SyncRecord(b.values[last], &synced, &failed)
	mu.Unlock()
	if err != nil {
		return err
	}
	synced.Wait()
	return failed
}

func (s *pebbleStore) shared() func(b *batch) error {
	if s.log == nil {
		return locked(s.write)
	}
	var mu sync.Mutex
	return func(b *batch) error { return s.syncRecord(b, &mu) }
}

func (s *pebbleStore) scan(visit func(value []byte) bool) error {
	f, err := vfs.Default.Open(s.name, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	defer f.Close()
	r := record.NewReader(bufio.NewReaderSize(f, readBytes), 1)
	for {
		v, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if s.buf, err = readAll(v, s.buf[:0]); err != nil {
			return err
		}
		if !visit(s.buf) {
			return nil
		}
	}
}

// readAll is io.ReadAll into memory that is used again.
func readAll(r io.Reader, buf []byte) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

func (s *pebbleStore) close() error {
	if s.log != nil {
		return s.log.Close()
	}
	if s.writer == nil {
		return nil
	}
	return errors.Join(s.writer.Close(), s.file.Close())
}
