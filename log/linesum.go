package log

import (
	"errors"
	"fmt"
	"strings"
)

// Kafka's text checkpoints have no checksum, and a digit that rots into another digit is a number as good as before. So each line of entries ends in a checksum that Kafka does not see: it splits lines at
// white space, and drops what is empty at the end. Sixteen blanks and tabs are the bits of a CRC-16 over the line in front of them, the highest first, a tab for 1. The file stays one file, replaced as a
// whole: a side file would have to be durable before the checkpoint itself changes, at the cost of two more syncs each time.
const lineSumBits = 16

// errLineSum says that a line is not the one that was written.
var errLineSum = errors.New("checksum does not match")

// appendLineSum appends the checksum of the line that begins at from.
func appendLineSum(dst []byte, from int) []byte {
	sum := crc16(dst[from:])
	for bit := lineSumBits - 1; bit >= 0; bit-- {
		c := byte(' ')
		if sum>>bit&1 == 1 {
			c = '\t'
		}
		dst = append(dst, c)
	}
	return dst
}

// checkLineSums compares the checksums of all lines. Lines without are Kafka's, or those of an insync that wrote none; but then no line has one, for damage does not shorten a line.
func checkLineSums(lines []string) error {
	with := 0
	for _, line := range lines {
		text := strings.TrimRight(line, " \t")
		if len(text) == len(line) {
			continue
		}
		with++
		if len(line)-len(text) != lineSumBits || string(appendLineSum([]byte(text), 0)) != line {
			return fmt.Errorf("%w: %w: %q", errCheckpoint, errLineSum, line)
		}
	}
	if with > 0 && with < len(lines) {
		return fmt.Errorf("%w: %w: %d of %d lines have one", errCheckpoint, errLineSum, with, len(lines))
	}
	return nil
}

// crc16 is CRC-16/CCITT: it notices every change within sixteen neighbouring bits.
func crc16(b []byte) uint16 {
	sum := uint16(0xffff)
	for _, c := range b {
		sum ^= uint16(c) << 8
		for range 8 {
			carry := sum & 0x8000
			sum <<= 1
			if carry != 0 {
				sum ^= 0x1021
			}
		}
	}
	return sum
}
