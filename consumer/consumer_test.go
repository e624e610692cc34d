package consumer

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insynclog/insync/log/record"
	"github.com/insynclog/insync/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inBubble runs a test in virtual time with a consumer of the fake's topic.
func inBubble(t *testing.T, f *fake, config Config, test func(t *testing.T, c *Consumer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		serve(t, f, func(client *transport.Client) {
			config.Client = client
			if config.Topics == nil && config.Partitions == nil {
				config.Topics = []string{f.topic}
			}
			c, err := New(config)
			require.NoError(t, err)
			test(t, c)
			require.NoError(t, c.Close())
		})
	})
}

// read returns the next n values, each with its partition and offset: "0/3=value".
func read(t *testing.T, c *Consumer, n int) (got []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for r, err := range c.Records(ctx) {
		require.NoError(t, err)
		require.Equal(t, "t", r.Topic)
		require.Equal(t, string(r.Value), string(r.Headers[0].Value))
		got = append(got, fmt.Sprintf("%d/%d=%s", r.Partition, r.Offset, r.Value))
		if len(got) == n {
			return got
		}
	}
	require.Len(t, got, n)
	return got
}

// readError reads until an error and returns it with what came before.
func readError(t *testing.T, c *Consumer) (got []string, failed error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for r, err := range c.Records(ctx) {
		if err != nil {
			return got, err
		}
		got = append(got, string(r.Value))
	}
	t.Fatal("no error came")
	return nil, nil
}

func TestReadsInOrderAcrossBatchesAndCodecs(t *testing.T) {
	f := newFake(1)
	for i, codec := range []record.Codec{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd} {
		f.parts[0].append(t, batchOptions{codec: codec}, fmt.Sprint("a", i), fmt.Sprint("b", i))
	}
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		assert.Equal(t, []string{"0/0=a0", "0/1=b0", "0/2=a1", "0/3=b1", "0/4=a2", "0/5=b2", "0/6=a3", "0/7=b3", "0/8=a4", "0/9=b4"}, read(t, c, 10))
		s := c.Status()
		require.Len(t, s, 1)
		assert.Equal(t, int64(10), s[0].Position)
		assert.Equal(t, int64(10), s[0].HighWatermark)
		assert.Equal(t, int64(0), s[0].Lag)
	})
}

func TestIterationGoesOnWhereItStopped(t *testing.T) {
	f := newFake(1)
	f.parts[0].append(t, batchOptions{}, "a", "b", "c")
	f.parts[0].append(t, batchOptions{}, "d")
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		assert.Equal(t, []string{"0/0=a"}, read(t, c, 1)) // in the middle of a batch
		assert.Equal(t, []string{"0/1=b", "0/2=c"}, read(t, c, 2))
		assert.Equal(t, []string{"0/3=d"}, read(t, c, 1))
	})
}

func TestWaitsForMore(t *testing.T) {
	f := newFake(1)
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		f.later(10*time.Second, func() {
			f.change(func() { f.parts[0].append(t, batchOptions{}, "late") })
		})
		began := time.Now()
		assert.Equal(t, []string{"0/0=late"}, read(t, c, 1))
		assert.Equal(t, 10*time.Second, time.Since(began), "handed out when it was there")
	})
}

func TestStartPositions(t *testing.T) {
	for _, tc := range []struct {
		start Position
		want  string
	}{
		{Earliest(), "0/5=a"},
		{AtOffset(7), "0/7=c"},
		{AtTime(time.UnixMilli(4242)), "0/6=b"},
		{AtTime(time.UnixMilli(9999)), "0/8=new"}, // nothing at or after it: the end
		{Latest(), "0/8=new"},
	} {
		t.Run(tc.start.String(), func(t *testing.T) {
			f := newFake(1)
			f.parts[0].start = 5
			f.parts[0].append(t, batchOptions{}, "a", "b", "c")
			f.parts[0].byTime = func(ts int64) int64 {
				if ts == 4242 {
					return 6
				}
				return -1
			}
			inBubble(t, f, Config{Start: tc.start}, func(t *testing.T, c *Consumer) {
				f.later(time.Second, func() {
					f.change(func() { f.parts[0].append(t, batchOptions{}, "new") })
				})
				assert.Equal(t, []string{tc.want}, read(t, c, 1))
			})
		})
	}
}

func TestFollowsTheLeader(t *testing.T) {
	f := newFake(1)
	f.parts[0].append(t, batchOptions{}, "a")
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		read(t, c, 1)
		f.change(func() { f.parts[0].leader, f.parts[0].epoch = -1, 1 })
		f.later(3*time.Second, func() {
			f.change(func() {
				f.parts[0].leader = 2
				f.parts[0].append(t, batchOptions{}, "b")
			})
		})
		assert.Equal(t, []string{"0/1=b"}, read(t, c, 1))
		assert.Equal(t, int32(2), c.Status()[0].Node)
	})
}

func TestFetchErrorsAreRetried(t *testing.T) {
	for _, err := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.UnknownLeaderEpoch, kerr.FencedLeaderEpoch, kerr.KafkaStorageError, kerr.UnknownTopicOrPartition, kerr.OffsetNotAvailable, kerr.ReplicaNotAvailable} {
		t.Run(err.Message, func(t *testing.T) {
			f := newFake(2)
			f.parts[0].append(t, batchOptions{}, "a")
			f.parts[0].fetchAs = err
			inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
				f.later(5*time.Second, func() {
					f.change(func() { f.parts[0].fetchAs = nil })
				})
				began := time.Now()
				assert.Equal(t, []string{"0/0=a"}, read(t, c, 1))
				assert.Less(t, time.Since(began), 7*time.Second)
				f.mu.Lock()
				defer f.mu.Unlock()
				assert.Less(t, f.fetches, 500, "errors are not asked for in a busy loop")
			})
		})
	}
}

func TestTopLevelFetchErrorIsRetried(t *testing.T) {
	f := newFake(1)
	f.parts[0].append(t, batchOptions{}, "a")
	f.failing[1] = kerr.FetchSessionIDNotFound
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		f.later(time.Second, func() {
			f.change(func() { delete(f.failing, 1) })
		})
		assert.Equal(t, []string{"0/0=a"}, read(t, c, 1))
	})
}

func TestOffsetOutOfRange(t *testing.T) {
	script := func() *fake {
		f := newFake(1)
		f.parts[0].start = 10
		f.parts[0].append(t, batchOptions{}, "a")
		return f
	}
	inBubble(t, script(), Config{Start: AtOffset(3)}, func(t *testing.T, c *Consumer) {
		_, err := readError(t, c)
		var oor *OffsetOutOfRangeError
		require.ErrorAs(t, err, &oor)
		assert.Equal(t, OffsetOutOfRangeError{Topic: "t", Partition: 0, Offset: 3}, *oor)
		require.NoError(t, c.Seek("t", 0, Earliest())) // revives it
		assert.Equal(t, []string{"0/10=a"}, read(t, c, 1))
	})
	inBubble(t, script(), Config{Start: AtOffset(3), OutOfRange: ResumeFirst}, func(t *testing.T, c *Consumer) {
		assert.Equal(t, []string{"0/10=a"}, read(t, c, 1))
	})
	f := script()
	inBubble(t, f, Config{Start: AtOffset(99), OutOfRange: ResumeLast}, func(t *testing.T, c *Consumer) {
		f.later(time.Second, func() {
			f.change(func() { f.parts[0].append(t, batchOptions{}, "b") })
		})
		assert.Equal(t, []string{"0/11=b"}, read(t, c, 1))
	})
}

// KIP-320: after an unclean election the new leader's log ends, for the epoch that was read, below the position.
func TestTruncationIsDetected(t *testing.T) {
	f := newFake(1)
	f.parts[0].append(t, batchOptions{}, "a", "b", "c")
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		read(t, c, 3)
		f.change(func() {
			p := f.parts[0]
			p.batches = nil
			p.append(t, batchOptions{}, "a")
			p.leader, p.epoch = 2, 1
			p.ends[0] = 1
			p.append(t, batchOptions{}, "B", "C", "D", "E")
		})
		_, err := readError(t, c)
		var lost *LogTruncatedError
		require.ErrorAs(t, err, &lost)
		assert.Equal(t, LogTruncatedError{Topic: "t", Partition: 0, Position: 3, DivergentOffset: 1}, *lost)
		require.NoError(t, c.Seek("t", 0, AtOffset(lost.DivergentOffset)))
		assert.Equal(t, []string{"0/1=B", "0/2=C"}, read(t, c, 2))
	})
}

func TestNearestReplica(t *testing.T) {
	f := newFake(1)
	f.parts[0].replica = 2
	f.parts[0].append(t, batchOptions{}, "a")
	inBubble(t, f, Config{Rack: "r"}, func(t *testing.T, c *Consumer) {
		assert.Equal(t, []string{"0/0=a"}, read(t, c, 1))
		assert.Equal(t, int32(2), c.Status()[0].Node)
		// A follower that does not have the offset is no reason to believe that the log lost it.
		f.change(func() {
			f.parts[0].lags = true
			f.parts[0].append(t, batchOptions{}, "b")
		})
		assert.Equal(t, []string{"0/1=b"}, read(t, c, 1), "the leader has it")
	})
}

func TestReadCommittedSkipsAbortedTransactions(t *testing.T) {
	script := func() *fake {
		f := newFake(1)
		p := f.parts[0]
		p.append(t, batchOptions{producer: 7}, "aborted")
		p.append(t, batchOptions{producer: 8}, "committed")
		p.append(t, batchOptions{}, "plain")
		p.batches = append(p.batches, marker(p.end(), 7, record.ControlAbort))
		p.append(t, batchOptions{producer: 7}, "next transaction")
		p.batches = append(p.batches, marker(p.end(), 8, record.ControlCommit))
		p.batches = append(p.batches, marker(p.end(), 7, record.ControlCommit))
		p.aborted = []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 7, FirstOffset: 0}}
		p.append(t, batchOptions{}, "end")
		return f
	}
	inBubble(t, script(), Config{}, func(t *testing.T, c *Consumer) {
		assert.Equal(t, []string{"0/1=committed", "0/2=plain", "0/4=next transaction", "0/7=end"}, read(t, c, 4))
	})
	inBubble(t, script(), Config{Isolation: ReadUncommitted}, func(t *testing.T, c *Consumer) {
		assert.Equal(t, []string{"0/0=aborted", "0/1=committed", "0/2=plain", "0/4=next transaction", "0/7=end"}, read(t, c, 5))
	})
}

// marker is a control batch that ends a transaction, byte for byte as in the format.
func marker(offset, producer int64, t record.ControlType) record.Batch {
	bld := record.NewBuilder(record.BuilderConfig{Transactional: true})
	bld.SetProducer(producer, 0, -1)
	bld.Append(&record.Record{Key: []byte{0, 0, 0, byte(t)}, Value: []byte{0, 0, 0, 0, 0, 0}, Timestamp: time.UnixMilli(1)})
	b, err := bld.Build(nil)
	if err != nil {
		panic(err)
	}
	b[22] |= 1 << 5 // control
	batch := record.Batch(b)
	batch.PutProducer(producer, 0, -1) // and the CRC anew
	batch.PutBaseOffset(offset)
	return batch
}

func TestDamageEndsThePartitionAfterWhatIsGood(t *testing.T) {
	f := newFake(1)
	f.parts[0].append(t, batchOptions{}, "a")
	f.parts[0].append(t, batchOptions{}, "b")
	f.parts[0].mangle = func(b record.Batch) record.Batch {
		if b.BaseOffset() == 1 {
			b = b.Clone()
			b[len(b)-1] ^= 1
		}
		return b
	}
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		got, err := readError(t, c)
		assert.Equal(t, []string{"a"}, got)
		var corrupt *record.CorruptError
		require.ErrorAs(t, err, &corrupt)
		var pe *PartitionError
		require.ErrorAs(t, err, &pe)
		assert.Equal(t, int64(1), pe.Offset)
	})
}

func TestPauseAndResume(t *testing.T) {
	f := newFake(2)
	f.parts[0].append(t, batchOptions{}, "a")
	f.parts[1].append(t, batchOptions{}, "b")
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		read(t, c, 2)
		require.NoError(t, c.Pause("t", 0))
		f.change(func() {
			f.parts[0].append(t, batchOptions{}, "kept back")
			f.parts[1].append(t, batchOptions{}, "c")
		})
		assert.Equal(t, []string{"1/1=c"}, read(t, c, 1))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		for r := range c.Records(ctx) {
			t.Errorf("%s came although its partition is paused", r.Value)
		}
		cancel()
		assert.True(t, c.Status()[0].Paused)
		require.NoError(t, c.Resume("t", 0))
		assert.Equal(t, []string{"0/1=kept back"}, read(t, c, 1))
		var na *NotAssignedError
		require.ErrorAs(t, c.Pause("t", 5), &na)
		require.ErrorAs(t, c.Seek("u", 0, Earliest()), &na)
	})
}

func TestSeekDropsWhatIsBuffered(t *testing.T) {
	f := newFake(1)
	f.parts[0].append(t, batchOptions{}, "a", "b", "c", "d")
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		read(t, c, 1)
		require.NoError(t, c.Seek("t", 0, AtOffset(2)))
		assert.Equal(t, []string{"0/2=c"}, read(t, c, 1))
		require.NoError(t, c.Seek("t", 0, Earliest()))
		assert.Equal(t, []string{"0/0=a", "0/1=b"}, read(t, c, 2))
	})
}

// A fetch that waits at the end of the log is answered after a seek back: what it brings is not where the consumer reads now.
func TestSeekDropsWhatIsAsked(t *testing.T) {
	f := newFake(1)
	f.parts[0].append(t, batchOptions{}, "a", "b")
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		read(t, c, 2)
		synctest.Wait()
		require.NoError(t, c.Seek("t", 0, AtOffset(0)))
		synctest.Wait()
		f.change(func() { f.parts[0].append(t, batchOptions{}, "c") })
		assert.Equal(t, []string{"0/0=a", "0/1=b", "0/2=c"}, read(t, c, 3))
	})
}

func TestMemoryIsBoundedAndGivenBack(t *testing.T) {
	f := newFake(4)
	value := strings.Repeat("x", 1000)
	for range 100 {
		for _, p := range f.parts {
			p.append(t, batchOptions{}, value)
		}
	}
	const buffer, per = 20_000, 5_000
	inBubble(t, f, Config{BufferBytes: buffer, PartitionMaxBytes: per}, func(t *testing.T, c *Consumer) {
		n := 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		for _, err := range c.Records(ctx) {
			require.NoError(t, err)
			synctest.Wait() // let the fetchers run as far ahead as they may
			if n++; n == 400 {
				break
			}
		}
		require.Equal(t, 400, n)
		assert.Less(t, time.Since(began), time.Second, "no fetch waited for one partition while another was dry")
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	assert.LessOrEqual(t, f.peak, buffer+4*2*per)
}

func TestBatchesKeepTheirHeaders(t *testing.T) {
	f := newFake(1)
	f.parts[0].append(t, batchOptions{codec: record.Zstd}, "a", "b", "c")
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for b, err := range c.Batches(ctx) {
			require.NoError(t, err)
			require.Len(t, b.Records, 3)
			for _, r := range b.Records {
				assert.Equal(t, string(r.Value), string(r.Headers[0].Value))
			}
			break
		}
		assert.Equal(t, int64(3), c.Status()[0].Position)
	})
}

func TestNewPartitionsAreRead(t *testing.T) {
	f := newFake(1)
	f.parts[0].append(t, batchOptions{}, "a")
	inBubble(t, f, Config{Start: Earliest()}, func(t *testing.T, c *Consumer) {
		read(t, c, 1)
		f.change(func() {
			f.parts = append(f.parts, &fakePart{leader: 2, replica: -1})
			f.parts[1].append(t, batchOptions{}, "b")
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for r, err := range c.Records(ctx) {
			require.NoError(t, err)
			assert.Equal(t, int32(1), r.Partition)
			return
		}
		t.Error("the new partition was not found")
	})
}

func TestUnknownTopics(t *testing.T) {
	f := newFake(1)
	inBubble(t, f, Config{Topics: []string{"bad/name"}}, func(t *testing.T, c *Consumer) {
		_, err := readError(t, c)
		require.ErrorIs(t, err, kerr.InvalidTopicException)
	})
	// One that may still be created is waited for.
	f.topic = "soon"
	inBubble(t, f, Config{Topics: []string{"t"}}, func(t *testing.T, c *Consumer) {
		f.later(5*time.Second, func() {
			f.change(func() {
				f.topic = "t"
				f.parts[0].append(t, batchOptions{}, "a")
			})
		})
		assert.Equal(t, []string{"0/0=a"}, read(t, c, 1))
	})
}

func TestCloseEndsAnIteration(t *testing.T) {
	f := newFake(1)
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		f.later(time.Second, func() {
			c.Close()
		})
		for range c.Records(context.Background()) {
			t.Error("nothing was there")
		}
		for _, err := range c.Records(t.Context()) {
			require.ErrorIs(t, err, ErrClosed)
		}
		require.ErrorIs(t, c.Seek("t", 0, Earliest()), ErrClosed)
	})
}

func TestOneIterationAtATime(t *testing.T) {
	f := newFake(1)
	f.parts[0].append(t, batchOptions{}, "a", "b")
	inBubble(t, f, Config{}, func(t *testing.T, c *Consumer) {
		for range c.Records(t.Context()) {
			for _, err := range c.Records(t.Context()) {
				require.ErrorIs(t, err, ErrBusy)
			}
			break
		}
		assert.Equal(t, []string{"0/1=b"}, read(t, c, 1))
	})
}

func TestConfigReportsAllProblemsAtOnce(t *testing.T) {
	_, err := New(Config{Partitions: map[string][]int32{"": {-1}}, MinBytes: -1, MaxWait: -1, Isolation: 9, OutOfRange: 9, Start: AtOffset(-1)})
	for _, want := range []string{"neither Client nor Bootstrap", "no name", "is negative", "MinBytes -1", "MaxWait", "Isolation 9", "OutOfRange 9", "offset -1"} {
		require.ErrorContains(t, err, want)
	}
}
