package log

import (
	"cmp"
	"encoding/binary"
	"errors"
	"time"

	"github.com/insynclog/insync/log/record"
)

// workload is a named course of events. It does the same each time: what looks random comes from the world's generator, which is seeded by the name.
type workload struct {
	name string
	run  func(w *world) error
}

// oneLog opens a directory with one log and repeats a step.
func oneLog(c Config, step func(w *world, i int) error) func(w *world) error {
	return func(w *world) error {
		w.addLog(c)
		if err := w.open(); err != nil {
			return err
		}
		if err := w.setBrokerEpoch(5); err != nil {
			return err
		}
		return w.until(func(i int) error { return step(w, i) })
	}
}

// every does f on the last of each n rounds.
func every(i, n int, f func() error) error {
	if i%n == n-1 {
		return f()
	}
	return nil
}

// small are segments of some batches each.
var small = Config{SegmentBytes: 1500, IndexIntervalBytes: 300, WriteAhead: -1}

// turns of a producer that is idempotent, and of one with transactions.
type turns struct{ sequence, txn int32 }

func (p *turns) idempotent(w *world, id int64, records int) error {
	err := w.append(0, batch{bytes: 30, records: records, producer: id, sequence: p.sequence})
	p.sequence += int32(records)
	return err
}

func (p *turns) transactional(w *world, id int64, end bool, abort bool) error {
	if !end {
		err := w.append(0, batch{bytes: 30, producer: id, sequence: p.txn, txn: true})
		p.txn++
		return err
	}
	m, err := endMarker(id, abort)
	if err != nil {
		return err
	}
	return w.appendBatch(0, m, FromCoordinator)
}

// endMarker is markerOf for those who have no test at hand.
func endMarker(id int64, abort bool) (record.Batch, error) {
	key := []byte{0, 0, 0, 1}
	if abort {
		key[3] = 0
	}
	b := record.NewBuilder(record.BuilderConfig{Transactional: true})
	b.Append(&record.Record{Key: key, Value: []byte{0, 0, 0, 0, 0, 1}, Timestamp: testTime})
	out, err := b.Build(nil)
	if err != nil {
		return nil, err
	}
	m := record.Batch(out)
	binary.BigEndian.PutUint16(m[21:], uint16(m.Attributes()|1<<5))
	m.PutProducer(id, 0, -1)
	return m, nil
}

var fixedWorkloads = []workload{
	{"sync-always", oneLog(small, func(w *world, i int) error {
		return steps(func() error { return w.plain(0, 50) }, func() error { return w.sync(0) })
	})},
	{"sync-interval", oneLog(small, func(w *world, i int) error {
		if i == 0 {
			if err := w.noteRelaxed(); err != nil {
				return err
			}
		}
		return steps(func() error { return w.plain(0, 50) }, func() error { return every(i, 7, func() error { return w.sync(0) }) })
	})},
	{"sync-never", oneLog(small, func(w *world, i int) error {
		if i == 0 {
			if err := w.noteRelaxed(); err != nil {
				return err
			}
		}
		return steps(func() error { return w.plain(0, 50) }, func() error { return every(i, 40, w.checkpoint) })
	})},
	{"large-batches", oneLog(Config{SegmentBytes: 64 << 10, IndexIntervalBytes: 4096, WriteAhead: -1}, func(w *world, i int) error {
		return steps(func() error { return w.plain(0, 3000+w.rng.IntN(18000)) }, func() error { return every(i, 3, func() error { return w.sync(0) }) })
	})},
	{"compressed", oneLog(small, func(w *world, i int) error {
		codec := []record.Codec{record.Gzip, record.Snappy, record.LZ4, record.Zstd}[i%4]
		return steps(func() error { return w.append(0, batch{records: 3, bytes: 100, codec: codec, producer: -1}) }, func() error { return every(i, 4, func() error { return w.sync(0) }) })
	})},
	{"many-records", oneLog(Config{SegmentBytes: 9000, IndexIntervalBytes: 1, WriteAhead: -1}, func(w *world, i int) error {
		return steps(func() error { return w.append(0, batch{records: 1 + w.rng.IntN(60), bytes: 5, producer: -1}) }, func() error { return every(i, 5, func() error { return w.sync(0) }) })
	})},
	{"roll-by-size", oneLog(Config{SegmentBytes: 400, IndexIntervalBytes: 1, WriteAhead: -1}, func(w *world, i int) error {
		return steps(func() error { return w.plain(0, 40) }, func() error { return every(i, 9, func() error { return w.sync(0) }) })
	})},
	{"roll-by-time", oneLog(Config{SegmentBytes: 1 << 20, SegmentAge: 30 * time.Millisecond, IndexIntervalBytes: 1, WriteAhead: -1}, func(w *world, i int) error {
		return steps(func() error { return w.plain(0, 40) }, func() error { return every(i, 6, func() error { return w.sync(0) }) })
	})},
	{"roll-by-full-index", oneLog(Config{SegmentBytes: 1 << 20, SegmentIndexBytes: 64, IndexIntervalBytes: 1, WriteAhead: -1}, func(w *world, i int) error {
		return steps(func() error { return w.plain(0, 40) }, func() error { return every(i, 8, func() error { return w.sync(0) }) })
	})},
	{"idempotent", func(w *world) error {
		p := [3]turns{}
		return oneLog(small, func(w *world, i int) error {
			return steps(func() error { return p[i%3].idempotent(w, int64(i%3), 1+i%2) }, func() error { return every(i, 5, func() error { return w.sync(0) }) },
				func() error { return every(i, 40, w.checkpoint) })
		})(w)
	}},
	{"transactions", func(w *world) error {
		p := [3]turns{}
		return oneLog(small, func(w *world, i int) error {
			id := i % 3
			return steps(func() error { return p[id].transactional(w, int64(id), i%12 >= 9, i%8 < 4) },
				func() error { return every(i, 5, func() error { w.setHigh(0, w.m.logs[0].end()-3); return w.sync(0) }) })
		})(w)
	}},
	{"leader-epochs", oneLog(small, func(w *world, i int) error {
		return steps(func() error { return every(i, 4, func() error { return w.startEpoch(0) }) }, func() error { return w.plain(0, 50) },
			func() error { return every(i, 3, func() error { return w.sync(0) }) }, func() error { return every(i, 10, w.checkpoint) })
	})},
	{"idle-epochs", oneLog(small, func(w *world, i int) error { // most of them without a record
		return steps(func() error { return w.startEpoch(0) }, func() error { return every(i, 3, func() error { return w.plain(0, 50) }) },
			func() error { return every(i, 4, func() error { return w.sync(0) }) }, func() error { return every(i, 5, w.checkpoint) },
			func() error { return every(i, 11, func() error { return w.reopen(8) }) })
	})},
	{"truncate-active", oneLog(Config{SegmentBytes: 1 << 20, IndexIntervalBytes: 150, WriteAhead: -1}, func(w *world, i int) error {
		return steps(func() error { return w.plain(0, 50) }, func() error { return every(i, 4, func() error { return w.sync(0) }) },
			func() error {
				return every(i, 10, func() error {
					return steps(func() error { return w.truncate(0, w.m.logs[0].back(2+w.rng.IntN(5))) }, func() error { return w.startEpoch(0) })
				})
			},
			func() error { return every(i, 25, w.checkpoint) })
	})},
	{"truncate-sealed", func(w *world) error {
		p := turns{}
		return oneLog(Config{SegmentBytes: 700, IndexIntervalBytes: 150, WriteAhead: -1}, func(w *world, i int) error {
			return steps(func() error { return w.plain(0, 50) }, func() error { return p.idempotent(w, int64(1000+i), 1) }, func() error { p.sequence = 0; return every(i, 3, func() error { return w.sync(0) }) },
				func() error {
					return every(i, 5, func() error { return w.truncate(0, w.m.logs[0].back(5+w.rng.IntN(4))) })
				},
				func() error { return every(i, 10, w.checkpoint) },
				func() error { return every(i, 9, func() error { return w.startEpoch(0) }) })
		})(w)
	}},
	{"truncate-fully", oneLog(Config{SegmentBytes: 500, IndexIntervalBytes: 150, WriteAhead: -1}, func(w *world, i int) error {
		return steps(func() error { return w.plain(0, 50) }, func() error { return every(i, 3, func() error { return w.sync(0) }) },
			func() error {
				return every(i, 8, func() error { return w.truncateFully(0, w.m.logs[0].end()+int64(w.rng.IntN(9)-6)) })
			},
			func() error { return every(i, 11, w.checkpoint) })
	})},
	{"delete-records", oneLog(Config{SegmentBytes: 500, IndexIntervalBytes: 150, WriteAhead: -1}, func(w *world, i int) error {
		end := w.m.logs[0].end()
		return steps(func() error { return w.plain(0, 50) }, func() error { return every(i, 4, func() error { return w.sync(0) }) },
			func() error {
				return every(i, 5, func() error {
					return steps(func() error { return w.advance(0, max(0, end-3)) }, func() error { return w.syncStart(0) })
				})
			},
			func() error { return every(i, 9, func() error { return w.deleteOld(0) }) })
	})},
	{"retention-by-size", func(w *world) error {
		p := turns{}
		return retained(w, Retention{Age: -1, Bytes: 1200}, func(i int) error { return p.idempotent(w, 3, 1) })
	}},
	{"retention-by-age", func(w *world) error {
		return retained(w, Retention{Age: 60 * time.Millisecond, Bytes: -1}, func(i int) error { return w.plain(0, 60) })
	}},
	{"checkpoints", oneLog(small, func(w *world, i int) error {
		return steps(func() error { return w.plain(0, 50) }, func() error { return w.plain(0, 50) },
			func() error { w.setHigh(0, w.m.logs[0].end()-1); return nil }, w.checkpoint)
	})},
	{"clean-restarts", func(w *world) error {
		p := turns{}
		return oneLog(small, func(w *world, i int) error {
			return steps(func() error { return w.plain(0, 50) }, func() error { return p.idempotent(w, 1, 1) }, func() error { return every(i, 3, func() error { return w.reopen(int64(6 + i)) }) },
				func() error {
					return every(i, 6, func() error { return w.setBrokerEpoch(int64(100 + i)) })
				})
		})(w)
	}},
	{"delete-and-recreate", oneLog(Config{SegmentBytes: 500, IndexIntervalBytes: 150, WriteAhead: -1}, func(w *world, i int) error {
		return steps(func() error { return w.plain(0, 50) }, func() error { return every(i, 2, func() error { return w.sync(0) }) }, func() error { return every(i, 6, w.checkpoint) },
			func() error { return every(i, 7, func() error { return w.recreate(0) }) })
	})},
	{"full-disk", oneLog(Config{SegmentBytes: 500, IndexIntervalBytes: 150, WriteAhead: -1}, func(w *world, i int) error {
		const capacity = 4 << 20
		if i == 0 {
			w.disk.SetCapacity(capacity)
			if err := w.d.Restock(); err != nil {
				return err
			}
		}
		return steps(func() error { return w.plain(0, 50) }, func() error { return every(i, 3, func() error { return w.sync(0) }) }, func() error {
			return every(i, 8, func() error { // what frees space goes on while somebody else has the disk to the last byte
				_, free, err := w.disk.Space(exploreDir)
				if err != nil {
					return err
				}
				w.disk.SetCapacity(capacity - free)
				w.setHigh(0, w.m.logs[0].synced)
				err = steps(w.checkpoint, func() error { return w.advance(0, w.m.logs[0].back(5)) }, func() error { return w.deleteOld(0) },
					func() error { return every(i, 16, func() error { return w.recreate(0) }) })
				w.disk.SetCapacity(capacity)
				if err == nil && !w.d.Short() {
					return errors.New("the ballast was not used")
				}
				return cmp.Or(err, w.d.Restock())
			})
		})
	})},
	{"two-logs", func(w *world) error {
		w.addLog(small)
		w.addLog(Config{SegmentBytes: 700, IndexIntervalBytes: 1, WriteAhead: 512})
		return steps(w.open, func() error {
			return w.until(func(i int) error {
				return steps(func() error { return w.plain(i%2, 60) }, func() error { return every(i, 3, func() error { return w.sync(i / 3 % 2) }) },
					func() error { return every(i, 14, w.checkpoint) }, func() error { return every(i, 17, func() error { return w.truncate(1, w.m.logs[1].back(3)) }) },
					func() error { return every(i, 23, func() error { return w.reopen(9) }) })
			})
		})
	}},
	{"identity", oneLog(small, func(w *world, i int) error {
		if i == 3 {
			if err := w.setClusterID("a-cluster"); err != nil {
				return err
			}
		}
		return steps(func() error { return w.plain(0, 30) }, func() error { return w.setBrokerEpoch(int64(10 + i)) },
			func() error { return every(i, 6, w.noteRelaxed) }, func() error { return every(i, 5, func() error { return w.reopen(int64(10 + i)) }) })
	})},
	{"follower", oneLog(Config{SegmentBytes: 900, IndexIntervalBytes: 150, WriteAhead: 700}, func(w *world, i int) error {
		return steps(func() error { return w.replicate(0, 1+i%4, batch{bytes: 40, records: 2, producer: -1}) }, func() error { return every(i, 2, func() error { return w.sync(0) }) },
			func() error { w.setHigh(0, w.m.logs[0].end()-4); return nil },
			func() error {
				return every(i, 6, func() error {
					w.m.logs[0].epoch++
					return w.truncate(0, w.m.logs[0].back(2))
				})
			},
			func() error { return every(i, 13, w.checkpoint) })
	})},
	{"write-ahead", oneLog(Config{SegmentBytes: 2000, IndexIntervalBytes: 300, WriteAhead: 1024}, func(w *world, i int) error {
		return steps(func() error { return w.plain(0, w.rng.IntN(200)) }, func() error { return every(i, 2, func() error { return w.sync(0) }) },
			func() error { return every(i, 15, func() error { return w.truncate(0, w.m.logs[0].back(3)) }) })
	})},
	{"compaction", oneLog(Config{SegmentBytes: 700, IndexIntervalBytes: 150, WriteAhead: -1, Compacted: true}, func(w *world, i int) error {
		return steps(func() error { return w.append(0, batch{records: 2, bytes: 40, keys: 6, producer: -1}) }, func() error { return every(i, 3, func() error { return w.sync(0) }) },
			func() error { w.setHigh(0, w.m.logs[0].synced); return nil }, func() error { return every(i, 9, func() error { return w.startEpoch(0) }) },
			func() error { return every(i, 14, func() error { return w.compact(0) }) })
	})},
	{"compaction-of-producers", func(w *world) error {
		p := [3]turns{}
		return oneLog(Config{SegmentBytes: 600, IndexIntervalBytes: 1, WriteAhead: -1, Compacted: true}, func(w *world, i int) error {
			return steps(func() error {
				err := w.append(0, batch{bytes: 30, keys: 4, producer: int64(i % 3), sequence: p[i%3].sequence})
				p[i%3].sequence++
				return err
			}, func() error { return every(i, 4, func() error { return w.sync(0) }) },
				func() error { w.setHigh(0, w.m.logs[0].synced); return nil }, func() error { return every(i, 16, func() error { return w.compact(0) }) },
				func() error { return every(i, 40, func() error { return w.reopen(8) }) })
		})(w)
	}},
	{"compaction-and-deletion", oneLog(Config{SegmentBytes: 500, IndexIntervalBytes: 150, WriteAhead: -1, Compacted: true}, func(w *world, i int) error {
		return steps(func() error { return w.append(0, batch{bytes: 50, keys: 5, producer: -1}) }, func() error { return every(i, 4, func() error { return w.sync(0) }) },
			func() error { w.setHigh(0, w.m.logs[0].synced); return nil }, func() error { return every(i, 12, func() error { return w.compact(0) }) },
			func() error {
				return every(i, 16, func() error {
					return steps(func() error { return w.advance(0, w.m.logs[0].back(12)) }, func() error { return w.deleteOld(0) })
				})
			})
	})},
}

// retained appends, and gives up what is old.
func retained(w *world, r Retention, add func(i int) error) error {
	return oneLog(Config{SegmentBytes: 500, IndexIntervalBytes: 150, WriteAhead: -1}, func(w *world, i int) error {
		return steps(func() error { return add(i) }, func() error { return every(i, 4, func() error { return w.sync(0) }) },
			func() error {
				return every(i, 6, func() error {
					w.setHigh(0, w.m.logs[0].end())
					start, err := w.logs[0].Retain(r, w.now)
					if err != nil {
						return err
					}
					return steps(func() error { return w.advance(0, start) }, func() error { return w.deleteOld(0) })
				})
			})
	})(w)
}

// randomWorkload does all of it, in an order that depends on the seed.
func randomWorkload(w *world) error {
	rng := w.rng
	w.addLog(Config{
		SegmentBytes: int32(400 + rng.IntN(3000)), IndexIntervalBytes: int32(1 + rng.IntN(400)), SegmentIndexBytes: int32(64 + rng.IntN(400)),
		WriteAhead: [...]int32{-1, 512, 2048}[rng.IntN(3)],
	})
	if err := w.open(); err != nil {
		return err
	}
	return w.until(func(i int) error {
		m := &w.m.logs[0]
		switch n := rng.IntN(100); {
		case n < 45:
			return w.append(0, batch{records: 1 + rng.IntN(3), bytes: rng.IntN(150), producer: -1, codec: record.Codec(rng.IntN(5))})
		case n < 55:
			return w.replicate(0, 1+rng.IntN(4), batch{bytes: rng.IntN(100), producer: -1})
		case n < 75:
			return w.sync(0)
		case n < 79:
			return w.checkpoint()
		case n < 83:
			return w.truncate(0, m.back(1+rng.IntN(6)))
		case n < 84:
			return w.truncateFully(0, max(0, m.end()+rng.Int64N(9)-6))
		case n < 87:
			return w.startEpoch(0)
		case n < 90:
			w.setHigh(0, m.end()-rng.Int64N(5))
			return nil
		case n < 93:
			return steps(func() error { return w.advance(0, max(0, m.end()-rng.Int64N(10))) }, func() error { return w.syncStart(0) })
		case n < 96:
			return w.deleteOld(0)
		case n < 97:
			return w.setBrokerEpoch(int64(i))
		case n < 98:
			return w.recreate(0)
		default:
			return w.reopen(int64(i))
		}
	})
}
