package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// reopenRows are the tasks of opening.
func reopenRows() []*row {
	clean := &row{records: sizeName(1 << 10), batch: "after a clean stop", opens: true, goals: []goal{below(20, "ms")}, begin: beginClean}
	killed := &row{records: sizeName(1 << 10), batch: "after kill -9", opens: true, goals: []goal{ratioAtMost(1)}, begin: beginKilled}
	return []*row{clean, killed}
}

// logFill fills a log of about size bytes and closes it.
func logFill(s *subject, dir string, l lot, size int64) error {
	st, err := s.open(dir, options{roll: true})
	if err != nil {
		return err
	}
	for n := int64(0); n+int64(len(l[0].encoded)) < size; n += int64(len(l[0].encoded)) {
		if err := st.append(l.at(int(n))); err != nil {
			return errors.Join(err, st.close())
		}
	}
	return st.close()
}

// fillSize is a little less than a segment, so that insync's log has but one.
func fillSize(m meter) int64 { return m.size - m.size/1024 }

// reopenTime opens a log and gives the time of it in ms.
func reopenTime(s *subject, dir string, m meter) (sample, error) {
	g := m.start()
	st, err := s.reopen(dir)
	if err != nil {
		return none, fmt.Errorf("open %s again: %w", s.name, err)
	}
	took := g.stop(1, 1)
	took.value = 1e3 / took.value
	return took, st.close()
}

func beginClean(dir string, m meter) (func(*subject) (sample, error), func(), error) {
	l := newLot(1<<10, medium.records, medium.limit)
	made := map[*subject]string{}
	return func(s *subject) (sample, error) {
			if s.reopen == nil {
				return none, nil
			}
			if made[s] == "" {
				own, err := os.MkdirTemp(dir, s.name)
				if err == nil {
					err = logFill(s, own, l, fillSize(m))
				}
				if err != nil {
					return none, err
				}
				made[s] = own
			}
			return reopenTime(s, made[s], m)
		}, func() {
			for _, own := range made {
				_ = os.RemoveAll(own)
			}
		}, nil
}

// A process that is to be killed is this program, started again with these in its environment.
const (
	childEnv      = "STORAGE_CHILD"       // directory of the log
	childBytesEnv = "STORAGE_CHILD_BYTES" // what to append
)

// beginKilled measures only insync, and raw as what the kill has left unproven: it is read, with the CRC of every batch.
func beginKilled(dir string, m meter) (func(*subject) (sample, error), func(), error) {
	l := newLot(1<<10, medium.records, medium.limit)
	own, err := os.MkdirTemp(dir, "killed")
	if err != nil {
		return nil, nil, err
	}
	end := func() { _ = os.RemoveAll(own) }
	if err := logFill(insync, own, l, fillSize(m)/2); err != nil {
		return nil, end, err
	}
	unproven := m.size / 32
	return func(s *subject) (sample, error) {
		switch s {
		case insync:
			if err := killChild(own, unproven); err != nil {
				return none, err
			}
			return reopenTime(s, own, m)
		case raw:
			return readEnd(own, unproven, m)
		}
		return none, nil
	}, end, nil
}

// killChild has a child append durably to the log in dir, and kills it.
func killChild(dir string, bytes int64) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+dir, fmt.Sprintf("%s=%d", childBytesEnv, bytes))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if strings.TrimSpace(line) != "ready" {
		return fmt.Errorf("the child said %q: %w", line, err)
	}
	return nil
}

// runChild is that child.
func runChild(dir string) error {
	var bytes int
	if _, err := fmt.Sscan(os.Getenv(childBytesEnv), &bytes); err != nil {
		return err
	}
	st, err := reopenInsync(dir)
	if err != nil {
		return err
	}
	l := newLot(1<<10, medium.records, medium.limit)
	for n := 0; n < bytes; n += len(l[0].encoded) {
		if err := st.append(l[0]); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	time.Sleep(time.Minute) // it is killed meanwhile
	return errors.New("nobody has killed the child")
}

// readEnd reads the last bytes of the newest segment in dir and takes the CRC of every batch.
func readEnd(dir string, bytes int64, m meter) (sample, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(names) == 0 {
		return none, fmt.Errorf("no segment in %s: %w", dir, err)
	}
	f, err := os.Open(names[len(names)-1])
	if err != nil {
		return none, err
	}
	defer f.Close()
	l := newLot(1<<10, medium.records, medium.limit)
	size := int64(len(l[0].encoded))
	info, err := f.Stat()
	if err != nil {
		return none, err
	}
	end := info.Size() - info.Size()%size
	s := &rawStore{f: f, end: end, buf: make([]byte, readBytes)}
	g := m.start()
	if err := s.scanFrom(end-(bytes+size-1)/size*size, func([]byte) bool { return true }); err != nil {
		return none, err
	}
	took := g.stop(1, 1)
	took.value = 1e3 / took.value
	return took, nil
}
