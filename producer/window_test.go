package producer

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
)

// TestWindow runs the transcripts in testdata. Commands:
//
//	init [limit=5] [plain] [epoch=0] [next=0]    a new window, with idempotence unless plain
//	assign id=N epoch=N                          give it a producer id
//	send [count=1]                               ask what to send, and send it; a new batch has count records
//	ok|retry|maybe|reject|lost|disorder|fenced|unknown-id|split B …     the result of batch B's attempt
//	expire B                                     its delivery timeout is over
func TestWindow(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var w *window
		var made []*batch
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			number := func(key string, fallback int) (n int) {
				n = fallback
				d.MaybeScanArgs(t, key, &n)
				return n
			}
			switch d.Cmd {
			case "init":
				w = &window{idempotent: !d.HasArg("plain"), limit: number("limit", 5), producerID: noProducer, producerEpoch: int16(number("epoch", 0)), next: int32(number("next", 0))}
				made = nil
			case "assign":
				w.assign(int64(number("id", 0)), int16(number("epoch", 0)))
			case "send":
				v := w.choose()
				fmt.Fprintf(&out, "send %v", v)
				switch v {
				case sendRetry:
					w.send(w.sent[0], v)
					fmt.Fprintf(&out, " b%d", index(made, w.sent[0]))
				case sendNew:
					b := &batch{count: int32(number("count", 1)), sequence: -1}
					made = append(made, b)
					w.send(b, v)
					fmt.Fprintf(&out, " b%d", len(made))
				}
				out.WriteByte('\n')
			default:
				for _, arg := range d.CmdArgs {
					var n int
					_, err := fmt.Sscanf(arg.Key, "b%d", &n)
					require.NoError(t, err)
					made = resultOfCommand(t, w, d.Cmd, made[n-1], made)
				}
			}
			for b := w.pop(); b != nil; b = w.pop() {
				o := Committed
				if b.err != nil {
					o = b.err.Outcome
				}
				fmt.Fprintf(&out, "b%d %v\n", index(made, b), o)
			}
			fmt.Fprintf(&out, "%v\n", w)
			return out.String()
		})
	})
}

func index(made []*batch, b *batch) int {
	for i, o := range made {
		if o == b {
			return i + 1
		}
	}
	return 0
}

func resultOfCommand(t *testing.T, w *window, cmd string, b *batch, made []*batch) []*batch {
	err := func() *Error { return &Error{Outcome: NotCommitted, Err: errors.New(cmd)} }
	switch cmd {
	case "ok":
		w.succeed(b)
	case "retry":
		w.retry(b, false)
	case "maybe":
		w.retry(b, true)
	case "reject":
		w.fail(b, err())
	case "lost": // a final error of which nobody knows whether the batch was appended
		b.maybe = true
		w.fail(b, err())
	case "expire":
		b.maybe = b.maybe || b.state == flying
		w.fail(b, err())
	case "disorder":
		w.outOfOrder(b, err())
	case "unknown-id":
		w.lostState(b, bumpEpoch, err())
	case "fenced":
		w.lostState(b, bumpID, err())
	case "split":
		half := b.count / 2
		parts := []*batch{{count: half}, {count: b.count - half}}
		w.split(b, parts)
		made = append(made, parts...)
	default:
		t.Fatalf("unknown command %s", cmd)
	}
	return made
}
