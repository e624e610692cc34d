package log

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/insynclog/insync/internal/vfs"
	"github.com/insynclog/insync/log/record"
)

// TestAppendBuilt appends the same records to two logs of each kind, once as a builder and once as its batch: the answers and the files are the same.
func TestAppendBuilt(t *testing.T) {
	for name, c := range map[string]Config{
		"plain":         {},
		"compacted":     {Compacted: true},
		"append time":   {TimestampType: LogAppendTime},
		"recoded":       {Compression: Compression{Recode: true, Codec: record.Zstd}},
		"small batches": {MaxBatchBytes: 200},
		"old records":   {TimestampBeforeMax: time.Minute},
		"small":         {SegmentBytes: 400},
	} {
		t.Run(name, func(t *testing.T) {
			m := vfs.NewMem()
			c.FS = m
			one, err := Open("/one-0", c)
			require.NoError(t, err)
			two, err := Open("/two-0", c)
			require.NoError(t, err)
			bd := record.NewBuilder(record.BuilderConfig{})
			refused := 0
			for i := range 60 {
				bd.Reset()
				if i%3 == 0 {
					bd.SetProducer(7, 0, int32(i/9*9)) // some again, some out of sequence
				}
				for j := range i%4 + 1 {
					r := record.Record{Key: fmt.Append(nil, j), Value: make([]byte, i*2), Timestamp: testTime.Add(time.Duration(j-i) * time.Second)}
					if i%10 == 9 {
						r.Key = nil
					}
					bd.Append(&r)
				}
				b, err := bd.Build(nil)
				require.NoError(t, err)
				o := AppendOptions{LeaderEpoch: int32(i / 20), Now: testTime}
				want, wantErr := one.Append(b, o)
				got, gotErr := two.AppendBuilt(bd, o)
				require.Equal(t, wantErr, gotErr)
				require.Equal(t, want, got)
				if wantErr != nil {
					refused++
				}
			}
			if name != "plain" && name != "append time" && name != "recoded" {
				assert.Positive(t, refused)
			}
			a, err := one.Read(0, one.Offsets().LogEndOffset, 1<<20, true)
			require.NoError(t, err)
			defer a.Release()
			b, err := two.Read(0, two.Offsets().LogEndOffset, 1<<20, true)
			require.NoError(t, err)
			defer b.Release()
			want, err := a.Append(nil)
			require.NoError(t, err)
			got, err := b.Append(nil)
			require.NoError(t, err)
			require.Equal(t, want, got)
			for rest := got; len(rest) > 0; {
				b, next, err := record.Split(rest)
				require.NoError(t, err)
				require.NoError(t, b.CheckCRC())
				rest = next
			}
			require.NoError(t, one.Close())
			require.NoError(t, two.Close())
		})
	}
}
