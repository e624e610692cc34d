package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// openInput opens the files one after the other, or standard input if it is not a terminal or empty device, or the Go files below the current directory.
func openInput(files []string) (io.ReadCloser, error) {
	if len(files) == 0 {
		if fi, err := os.Stdin.Stat(); err == nil && (fi.Mode().IsRegular() || fi.Mode()&os.ModeNamedPipe != 0) {
			return os.Stdin, nil
		}
		err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && filepath.Ext(path) == ".go" {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, errors.New("no input: name files, pipe something in, or run it where Go files are")
		}
		slices.Sort(files)
	}
	in := &fileSequence{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			in.Close()
			return nil, err
		}
		in.files = append(in.files, f)
		in.readers = append(in.readers, f)
	}
	in.Reader = io.MultiReader(in.readers...)
	return in, nil
}

// fileSequence reads files one after the other.
type fileSequence struct {
	io.Reader
	readers []io.Reader
	files   []*os.File
}

func (s *fileSequence) Close() error {
	for _, f := range s.files {
		f.Close()
	}
	return nil
}

// readLines reads all lines. They are kept, since what comes back is compared with them.
func readLines(r io.Reader) ([][]byte, error) {
	var lines [][]byte
	br := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := br.ReadBytes('\n')
		if len(line) > 0 {
			lines = append(lines, bytes.TrimSuffix(line, []byte("\n")))
		}
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
