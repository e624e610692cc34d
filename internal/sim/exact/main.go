// Exact makes a Go runtime in which a synctest bubble that runs on one processor leaves nothing to chance, and prints the file that go build's -overlay takes for it:
//
//	go test -overlay="$(go run ./internal/sim/exact)" ./internal/sim -run 'TestSim$' -sim.first=7 -sim.seeds=1
//
// A program built so makes the same run of a seed each time, in each process, and on a machine however busy: goroutines that become runnable at one instant run in the same order, and selects with several
// ready cases, timers of one instant and ranges over maps draw from the seed that testing/cryptotest was given, so that another seed is another chance. What it changes is in changes; the files are copies
// of those of the Go in use, in the user's cache directory, and nothing is downloaded. The first build makes all of the standard library anew, which takes a minute of a processor; go keeps it.
//
// Of any other Go than the one it knows, file by file, it changes nothing: it says so and fails, and what is started with the empty output runs with the ordinary runtime.
//
// What is left is what depends on addresses, as the order of a map whose keys are pointers, and a system call within the bubble that takes longer than some microseconds.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	file, err := overlay()
	if err != nil {
		fmt.Fprintln(os.Stderr, "exact:", err)
		os.Exit(1)
	}
	fmt.Println(file)
}

// overlay writes the changed files and the list of them, and returns the list's name. The same runtime has the same files: go's cache knows the build again.
func overlay() (string, error) {
	root, err := goroot()
	if err != nil {
		return "", err
	}
	files, err := changed(root)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%s\x00%s\x00", name, files[name])
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir() // no home: as good
	}
	dir = filepath.Join(dir, "insync-exact", hex.EncodeToString(h.Sum(nil)[:8]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	replace := map[string]string{}
	for name, text := range files {
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := write(file, []byte(text)); err != nil {
			return "", err
		}
		replace[filepath.Join(root, "src", filepath.FromSlash(name))] = file
	}
	list, err := json.MarshalIndent(map[string]any{"Replace": replace}, "", "\t")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, write(file, list)
}

// write makes the file appear whole: somebody else may be at it, or be reading.
func write(file string, text []byte) error {
	if old, err := os.ReadFile(file); err == nil && string(old) == string(text) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(file), "new")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// goroot is where the Go lives that builds the module one stands in.
func goroot() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// errAnotherGo says what to do without.
var errAnotherGo = errors.New("another Go than " + knows + ", for which the changes are made: go test without -overlay, where a seed may make another run the next time")

// changed returns the files of the standard library that are another, by name. It changes all of them or, if one of them is not known to the byte, none.
func changed(root string) (map[string]string, error) {
	files := map[string]string{}
	for name, known := range sums {
		file := filepath.Join(root, "src", filepath.FromSlash(name))
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%w (there is no %s)", errAnotherGo, file)
		}
		if err != nil {
			return nil, err
		}
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != known {
			return nil, fmt.Errorf("%w (%s differs)", errAnotherGo, file)
		}
		files[name] = string(text)
	}
	for _, c := range changes {
		if n := strings.Count(files[c.file], c.from); n != 1 {
			return nil, fmt.Errorf("a mistake in changes: %s has %d times, not once: %q", c.file, n, c.from)
		}
		files[c.file] = strings.Replace(files[c.file], c.from, c.to, 1)
	}
	return files, nil
}
