// Command genguard writes the tables of package guard: what the generated decoders of kmsg read, version by version.
//
// It reads the source of the decoders themselves, not the protocol's definition: so the guard walks exactly what will be decoded. A statement it
// does not know stops it; a new version of kmsg is understood as a whole or not at all.
//
//	go run -C tools ./genguard            writes ../internal/guard/schema_gen.go
//	go run -C tools ./genguard -check     fails if that is not what it would write
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	root := flag.String("root", "..", "directory of the module whose version of kmsg is meant")
	out := flag.String("o", "../internal/guard/schema_gen.go", "file to write")
	check := flag.Bool("check", false, "compare instead of writing")
	flag.Parse()
	if err := run(*root, *out, *check); err != nil {
		fmt.Fprintln(os.Stderr, "genguard:", err)
		os.Exit(1)
	}
}

var errStale = errors.New("the table is not what kmsg's source says: run go generate ./internal/guard")

func run(root, out string, check bool) error {
	dir, err := kmsgDir(root)
	if err != nil {
		return err
	}
	text, err := generate(dir)
	if err != nil {
		return err
	}
	if !check {
		return os.WriteFile(out, text, 0o644)
	}
	have, err := os.ReadFile(out)
	if err == nil && !bytes.Equal(have, text) {
		err = errStale
	}
	return err
}

// kmsgDir asks the go command for the source of kmsg in the version of go.mod.
func kmsgDir(root string) (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/twmb/franz-go/pkg/kmsg")
	cmd.Dir = root
	text, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return strings.TrimSpace(string(text)), err
}

// generate returns the file for the kmsg in dir.
func generate(dir string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(dir, "generated.go"))
	if err != nil {
		return nil, err
	}
	src, err := parse(dir)
	if err != nil {
		return nil, err
	}
	var t table
	if err := t.add(src); err != nil {
		return nil, err
	}
	return t.file(fmt.Sprintf("%x", sha256.Sum256(text)))
}
