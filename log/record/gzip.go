package record

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// A gzip reader or writer holds from 40 KiB to some hundred, and is needed only while a batch is converted: a pool serves
// all Readers and Builders, of which a program may have thousands. Such pools are the only package-level state here that
// changes; they hold no data between uses.
var (
	gzipReaders sync.Pool     // of *gzipReader
	gzipWriters [11]sync.Pool // of *gzipWriter, by level+1
)

type gzipReader struct {
	src bytes.Reader // a ByteReader, so that gzip puts no buffer in between
	z   gzip.Reader
}

type gzipWriter struct {
	dst sliceWriter
	z   *gzip.Writer
}

// sliceWriter appends what is written.
type sliceWriter struct{ b []byte }

func (w *sliceWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

// appendGzip appends one RFC 1952 member. Level is -1 or 1 to 9; 0 counts as -1.
func appendGzip(dst []byte, level int, src []byte) ([]byte, error) {
	if level == 0 {
		level = gzip.DefaultCompression
	}
	pool := &gzipWriters[level+1]
	w, _ := pool.Get().(*gzipWriter)
	if w == nil {
		z, err := gzip.NewWriterLevel(nil, level)
		if err != nil {
			return dst, err
		}
		w = &gzipWriter{z: z}
	}
	w.dst.b = dst
	w.z.Reset(&w.dst)
	_, err := w.z.Write(src)
	if err == nil {
		err = w.z.Close()
	}
	out := w.dst.b
	w.dst.b = nil
	pool.Put(w)
	return out, err
}

// readGzip decompresses one member or several in a row.
func readGzip(dst, src []byte, limit int) ([]byte, error) {
	r, _ := gzipReaders.Get().(*gzipReader)
	if r == nil {
		r = new(gzipReader)
	}
	defer func() {
		r.src.Reset(nil)
		gzipReaders.Put(r)
	}()
	r.src.Reset(src)
	if err := r.z.Reset(&r.src); err != nil {
		return dst, badStream(Gzip, "header", err)
	}
	for {
		if len(dst) == cap(dst) {
			dst = reserve(dst, min(max(4*len(src), 512), limit+1-len(dst)))
		}
		n, err := r.z.Read(dst[len(dst):min(cap(dst), limit+1)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) > limit:
			return dst[:0], tooLarge(len(dst), limit)
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, badStream(Gzip, "data", err)
		}
	}
}
