package log

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/insynclog/insync/internal/vfs"
)

// The files of a data directory that say something of each of its logs, in Kafka's text form.
const (
	recoveryPointFile = "recovery-point-offset-checkpoint"
	highWatermarkFile = "replication-offset-checkpoint"
	logStartFile      = "log-start-offset-checkpoint"
)

// partitionKey names a log within a directory.
type partitionKey struct {
	topic     string
	partition int32
}

func (k partitionKey) String() string { return k.topic + "-" + strconv.Itoa(int(k.partition)) }

// parsePartitionKey splits the name of a partition's directory.
func parsePartitionKey(name string) (partitionKey, bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 {
		return partitionKey{}, false
	}
	n, err := strconv.ParseInt(name[i+1:], 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != name[i+1:] {
		return partitionKey{}, false
	}
	return partitionKey{topic: name[:i], partition: int32(n)}, true
}

// A checkpoint file is text: a version, the number of entries, one entry per line. A line of entries ends in a checksum of white space: see linesum.go.
//
//	0
//	2
//	orders 0 4711
//	orders 1 42

var errCheckpoint = errors.New("malformed checkpoint")

// checkpointLines returns the entry lines of a checkpoint; any other version or count than what is there is an error.
func checkpointLines(b []byte) ([]string, error) {
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, 1<<20)
	next := func() (int, error) {
		if !sc.Scan() {
			return 0, fmt.Errorf("%w: ends early", errCheckpoint)
		}
		return strconv.Atoi(sc.Text())
	}
	version, err := next()
	if err != nil {
		return nil, err
	}
	if version != 0 {
		return nil, fmt.Errorf("%w: version %d", errCheckpoint, version)
	}
	count, err := next()
	if err != nil {
		return nil, err
	}
	var lines []string
	for sc.Scan() {
		lines = append(lines, sc.Text())
	}
	if sc.Err() != nil || len(lines) != count {
		return nil, fmt.Errorf("%w: %d entries, %d announced", errCheckpoint, len(lines), count)
	}
	return lines, checkLineSums(lines)
}

func appendCheckpointHead(dst []byte, count int) []byte {
	dst = append(dst, "0\n"...)
	dst = strconv.AppendInt(dst, int64(count), 10)
	return append(dst, '\n')
}

// parseOffsetCheckpoint decodes one of the directory's checkpoints.
func parseOffsetCheckpoint(b []byte) (map[partitionKey]int64, error) {
	lines, err := checkpointLines(b)
	if err != nil {
		return nil, err
	}
	m := make(map[partitionKey]int64, len(lines))
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("%w: %q", errCheckpoint, line)
		}
		p, err1 := strconv.ParseInt(f[1], 10, 32)
		o, err2 := strconv.ParseInt(f[2], 10, 64)
		if err1 != nil || err2 != nil || o < 0 {
			return nil, fmt.Errorf("%w: %q", errCheckpoint, line)
		}
		m[partitionKey{f[0], int32(p)}] = o
	}
	return m, nil
}

// appendOffsetCheckpoint encodes one of the directory's checkpoints; keys says the order.
func appendOffsetCheckpoint(dst []byte, keys []partitionKey, offsets map[partitionKey]int64) []byte {
	dst = appendCheckpointHead(dst, len(keys))
	for _, k := range keys {
		from := len(dst)
		dst = append(dst, k.topic...)
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, int64(k.partition), 10)
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, offsets[k], 10)
		dst = append(appendLineSum(dst, from), '\n')
	}
	return dst
}

// readOffsetCheckpoint reads one of the directory's checkpoints. One that is missing or damaged counts as empty: what it says can be found
// out from the logs, with more work. damaged tells the two apart.
func readOffsetCheckpoint(fsys vfs.FS, name string) (m map[partitionKey]int64, damaged error, err error) {
	b, err := readSmallFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return map[partitionKey]int64{}, nil, nil
	}
	if err != nil {
		return nil, nil, storage("read", name, err)
	}
	m, damaged = parseOffsetCheckpoint(b)
	if damaged != nil {
		m = map[partitionKey]int64{}
	}
	return m, damaged, nil
}
