package format_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/log/record"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// world is all that the pages are held against.
type world struct {
	cluster  *clusterWorld
	log      *logWorld
	metadata *metadataWorld
}

// The world is made once: reading it by tables costs little, and is done for each wrong table, too.
func TestFormat(t *testing.T) {
	w := &world{runCluster(t), runLog(t), runController(t)}
	t.Run("pages", func(t *testing.T) { testPages(t, w) })
	t.Run("every file has a page", func(t *testing.T) { testEveryFileHasAPage(t, w) })
	t.Run("wrong tables are noticed", func(t *testing.T) { testWrongTablesAreNoticed(t, w) })
}

// The pages' tables read what nodes have written.
func testPages(t *testing.T, w *world) {
	t.Helper()
	tabs, err := readTables(".")
	require.NoError(t, err)
	require.NoError(t, verify(tabs, w))
	used := usesOf(tabs, w)
	for _, name := range slices.Sorted(maps.Keys(tabs)) {
		assert.True(t, used[name], "table %s of %s is not used by any check", name, tabs[name].page)
	}
}

// usesOf tells which tables a verification needs: those whose absence it notices.
func usesOf(tabs tables, w *world) map[string]bool {
	used := map[string]bool{}
	for name := range tabs {
		without := maps.Clone(tabs)
		delete(without, name)
		used[name] = verify(without, w) != nil
	}
	return used
}

// Every file of a data directory matches a row of README.md, and every row matches a file.
func testEveryFileHasAPage(t *testing.T, w *world) {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| \\[[^]]+\\]\\(([^)]+)\\)").FindAllStringSubmatch(string(readme), -1)
	require.NotEmpty(t, rows)
	met := map[string]bool{}
	for _, f := range []files{w.cluster.clean, w.cluster.killed, w.log.files, w.metadata.files} {
		for name := range f {
			found := false
			for _, row := range rows {
				if regexp.MustCompile("^" + row[1] + "$").MatchString(path.Base(name)) {
					met[row[1]], found = true, true
				}
			}
			assert.True(t, found, "%s has no page", name)
		}
	}
	for _, row := range rows {
		assert.True(t, met[row[1]], "no node wrote a file %s", row[1])
		page, err := os.ReadFile(row[2])
		require.NoError(t, err)
		for _, word := range []string{"**Damage.**", "**Durable**", "**Written"} {
			if row[2] == "lock.md" || row[2] == "log.md" && word == "**Damage.**" {
				continue // the one has no content, the other a chapter
			}
			assert.Contains(t, strings.ReplaceAll(string(page), "**Damage.** ", "**Damage.**"), word, row[2])
		}
	}
}

// Each row of each table is made wrong, consistently: gone, exchanged with the next one, wider or narrower. The verification has to notice.
func testWrongTablesAreNoticed(t *testing.T, w *world) {
	t.Helper()
	if raced {
		t.Skip("one goroutine that reads the same files a thousand times: without the race detector")
	}
	good, err := readTables(".")
	require.NoError(t, err)
	tries := 0
	try := func(what string, bad *table) {
		t.Helper()
		tries++
		all := maps.Clone(good)
		all[bad.name] = bad
		if verify(all, w) == nil {
			t.Errorf("%s: table %s with %s is not noticed", bad.page, bad.name, what)
		}
	}
	wider := map[string]string{
		"int8": "int16", "int16": "int32", "int32": "int64", "int64": "int32", "uint32": "uint64", "uuid": "int64", "string": "compact string", "compact string": "string",
		"varlong": "int8", "varint": "int16", "uvarint": "int16", "counted string": "compact string", "tags": "int16", "varlong list": "varlong", "compact bytes": "bytes32", "bytes32": "compact bytes", "compact count": "int16",
	}
	for _, name := range slices.Sorted(maps.Keys(good)) {
		tab := good[name]
		for i, f := range tab.fields {
			gone := *tab
			gone.fields = slices.Delete(slices.Clone(tab.fields), i, i+1)
			try("no field "+f.name, &gone)
			if i+1 < len(tab.fields) {
				swapped := *tab
				swapped.fields = slices.Clone(tab.fields)
				swapped.fields[i], swapped.fields[i+1] = tab.fields[i+1], f
				try(fmt.Sprintf("%s and %s exchanged", f.name, tab.fields[i+1].name), &swapped)
			}
			if other := wider[f.typ]; other != "" {
				resized := *tab
				resized.fields = slices.Clone(tab.fields)
				resized.fields[i].typ = other
				try(fmt.Sprintf("%s as %s", f.name, other), &resized)
			}
		}
		for i, l := range tab.lines {
			gone := *tab
			gone.lines = slices.Delete(slices.Clone(tab.lines), i, i+1)
			try("no line "+l.text, &gone)
			if i+1 < len(tab.lines) {
				swapped := *tab
				swapped.lines = slices.Clone(tab.lines)
				swapped.lines[i].text, swapped.lines[i+1].text = tab.lines[i+1].text, l.text
				try(l.text+" exchanged", &swapped)
			}
			if names := strings.Split(l.text, " "); len(names) > 1 && strings.HasPrefix(names[0], "{") {
				turned := *tab
				turned.lines = slices.Clone(tab.lines)
				slices.Reverse(names)
				turned.lines[i].text = strings.Join(names, " ")
				try(l.text+" turned round", &turned)
			}
		}
		for i, k := range tab.keys {
			gone := *tab
			gone.keys = slices.Delete(slices.Clone(tab.keys), i, i+1)
			try("no key "+k.name, &gone)
			if i+1 < len(tab.keys) {
				swapped := *tab
				swapped.keys = slices.Clone(tab.keys)
				swapped.keys[i], swapped.keys[i+1] = tab.keys[i+1], k
				try(k.name+" exchanged", &swapped)
			}
		}
		for i, b := range tab.bits {
			moved := *tab
			moved.bits = slices.Clone(tab.bits)
			moved.bits[i].low, moved.bits[i].high = b.low+1, b.high+1
			try(b.name+" one bit higher", &moved)
		}
	}
	t.Log(tries, "wrong tables")
}

// verify reads the world by the tables and compares. It never panics: a wrong table is an error.
func verify(t tables, w *world) (err error) {
	v := &verifier{t: t}
	defer func() {
		if r := recover(); r != nil {
			err = errors.Join(append(v.errs, fmt.Errorf("what a table reads has not the shape of what was written: %v", r))...)
		}
	}()
	v.metadataKinds()
	v.offsetsKinds()
	v.log(w.log)
	v.metadata(w.metadata)
	v.cluster(w.cluster) // the most work
	return errors.Join(v.errs...)
}

type verifier struct {
	t    tables
	errs []error
}

// is compares.
func (v *verifier) is(what string, got, want any) {
	if !assert.ObjectsAreEqual(want, got) {
		v.fail(fmt.Errorf("%s is %s, not %s", what, short(got), short(want)))
	}
}

// short prints a value that may be a large record.
func short(x any) string {
	s := fmt.Sprint(x)
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return s
}

// errEnough says that a table is wrong enough.
var errEnough = errors.New("and more")

func (v *verifier) fail(err error) {
	v.errs = append(v.errs, err)
	if len(v.errs) == 10 {
		panic(errEnough)
	}
}

// ok takes an error.
func (v *verifier) ok(what string, err error) {
	if err != nil {
		v.fail(fmt.Errorf("%s: %w", what, err))
	}
}

// fields compares all fields of what a table has read: none may be missing in want, unless it is checked elsewhere.
func (v *verifier) fields(what string, got values, want values) {
	for _, name := range slices.Sorted(maps.Keys(got)) {
		expected, known := want[name]
		if !known {
			v.fail(fmt.Errorf("%s has a field %s that nobody expects", what, name))
			continue
		}
		if s, ok := expected.(string); ok {
			if b, isBytes := got[name].([]byte); isBytes && b != nil {
				v.is(what+" "+name, string(b), s)
				continue
			}
		}
		v.is(what+" "+name, got[name], expected)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if _, there := got[name]; !there {
			v.fail(fmt.Errorf("%s has no field %s", what, name))
		}
	}
}

func (v *verifier) decode(table string, b []byte) values {
	x, err := v.t.decode(table, b)
	v.ok(table, err)
	return x
}

func (v *verifier) decodeAll(table string, b []byte) []values {
	list, err := v.t.decodeAll(table, b)
	v.ok(table, err)
	return list
}

func (v *verifier) text(table string, b []byte) []values {
	list, err := v.t.decodeText(table, b)
	v.ok(table, err)
	return list
}

func (v *verifier) json(table string, b []byte) values {
	x, err := v.t.decodeJSON(table, b)
	v.ok(table, err)
	return x
}

// readBatch is a batch as the tables read it, with its records, and where it is in its file.
type readBatch struct {
	values
	bits     values
	records  []values
	position int64
	end      int64
}

func (v *verifier) batches(b []byte) []readBatch {
	var list []readBatch
	d := &decoder{t: v.t, b: b}
	for len(bytes.TrimRight(d.b, "\x00")) > 0 {
		at := int64(len(b) - len(d.b))
		x, err := d.table("batch")
		if err != nil {
			v.ok(fmt.Sprintf("batch at %d", at), err)
			return list
		}
		r := readBatch{values: x, position: at, end: int64(len(b) - len(d.b))}
		r.bits, err = v.t.decodeBits("batch.attributes", x["attributes"].(int64))
		v.ok("attributes", err)
		data := x["records"].([]byte)
		if r.bits["codec"] == int64(record.Zstd) {
			z, err := zstd.NewReader(nil)
			v.ok("zstd", err)
			data, err = z.DecodeAll(data, nil)
			v.ok("zstd", err)
			z.Close()
		}
		rd := &decoder{t: v.t, b: data}
		for len(rd.b) > 0 {
			rec, err := rd.table("record")
			if err != nil {
				v.ok("record", err)
				return list
			}
			r.records = append(r.records, rec)
		}
		list = append(list, r)
	}
	return list
}

// cluster compares the directories of two nodes with what they were told.
func (v *verifier) cluster(w *clusterWorld) {
	for _, f := range []files{w.clean, w.killed} {
		v.orders(w, f)
		v.is("leader epochs", v.epochs(f["orders-0/leader-epoch-checkpoint"]), func() map[int64]int32 {
			m := maps.Clone(w.epochStarts)
			if e, ok := m[0]; ok { // what is below the log's start is forgotten
				delete(m, 0)
				m[w.deletedBelow] = e
			}
			return m
		}())
		v.is("partition.metadata", v.text("partition.metadata", f["orders-0/partition.metadata"]), []values{{}, {"topicId": w.topics["orders"].String()}, {"checksum": sumAbove(f["orders-0/partition.metadata"])}})
		v.is("log starts", v.offsets("log-start-offset-checkpoint", "logStartOffset", f), map[string]string{"orders-0": fmt.Sprint(w.deletedBelow)})
		v.is("high watermark", v.offsets("replication-offset-checkpoint", "highWatermark", f)["orders-0"], fmt.Sprint(w.highWatermark))
		v.is("recovery point", v.offsets("recovery-point-offset-checkpoint", "recoveryPoint", f)["orders-0"], fmt.Sprint(w.highWatermark))
		v.is("lock", len(f[".lock"]), 0)
		v.is("ballast", len(f[".ballast"]), 1<<20)
		q := v.json("quorum-state", f["__cluster_metadata-0/quorum-state"])
		var voters []any
		for _, id := range w.voters {
			voters = append(voters, map[string]any{"voterId": json.Number(fmt.Sprint(id))})
		}
		summed := regexp.MustCompile(`"checksum":"[0-9a-f]*"`).ReplaceAll(f["__cluster_metadata-0/quorum-state"], []byte(`"checksum":""`))
		v.fields("quorum state", q, values{
			"clusterId": "", "leaderId": int64(-1), "leaderEpoch": q["leaderEpoch"], "votedId": q["votedId"], "appliedOffset": int64(0), "currentVoters": voters, "data_version": int64(0),
			"checksum": strconv.FormatUint(xxhash.Sum64(summed), 16),
		})
		metadata := v.batches(f["__cluster_metadata-0/00000000000000000000.log"])
		// An election under way has a term of which there is no entry yet; who heard of the leader before it was asked has no vote.
		term, last := q["leaderEpoch"].(int64), metadata[len(metadata)-1].values["partitionLeaderEpoch"].(int64)
		v.is("a term not older than the last entry's", term >= last, true)
		voted := q["votedId"].(int64)
		v.is("a vote", voted == -1 || slices.Contains(w.voters, int32(voted)), true)
		v.metadataLog(f["__cluster_metadata-0/00000000000000000000.log"], w)
		v.groups(w, f)
	}
	id := fmt.Sprint(w.cleanID)
	meta := v.text("meta.properties", w.clean["meta.properties"])
	v.is("meta.properties", []values{meta[0], meta[2], meta[3], meta[4]}, []values{{"clusterId": w.clusterID}, {"nodeId": id}, {}, {"checksum": sumAbove(w.clean["meta.properties"])}})
	state := v.text("broker-state", w.clean["broker-state"])
	line := state[0]["state"].(string)
	v.is("crc", state[1]["crc"], fmt.Sprintf("%08x", crc32.Checksum([]byte(line+"\n"), crc32.MakeTable(crc32.Castagnoli))))
	s := v.json("broker-state.json", []byte(line))
	v.is("directory", s["directoryId"], meta[1]["directoryId"])
	clean := v.json("clean-shutdown", w.clean[".kafka_cleanshutdown"])
	v.fields("clean shutdown", clean, values{"version": int64(0), "brokerEpoch": s["brokerEpoch"]})
	v.is("marker of a killed node", w.killed[".kafka_cleanshutdown"], []byte(nil))
}

// sumAbove is the CRC-32C of all lines of a text but the last.
func sumAbove(b []byte) string {
	last := bytes.LastIndexByte(bytes.TrimSuffix(b, []byte("\n")), '\n') + 1
	return fmt.Sprintf("%08x", crc32.Checksum(b[:last], crc32.MakeTable(crc32.Castagnoli)))
}

func (v *verifier) epochs(b []byte) map[int64]int32 {
	m := map[int64]int32{}
	lines := v.text("leader-epoch-checkpoint", b)
	v.is("count", lines[1]["count"], fmt.Sprint(len(lines)-2))
	for _, l := range lines[2:] {
		epoch, err := strconv.ParseInt(l["epoch"].(string), 10, 32)
		v.ok("epoch", err)
		start, err := strconv.ParseInt(l["startOffset"].(string), 10, 64)
		v.ok("start", err)
		m[start] = int32(epoch)
	}
	return m
}

func (v *verifier) offsets(table, field string, f files) map[string]string {
	m := map[string]string{}
	lines := v.text(table, f[table])
	v.is("count", lines[1]["count"], fmt.Sprint(len(lines)-2))
	for _, l := range lines[2:] {
		m[l["topic"].(string)+"-"+l["partition"].(string)] = l[field].(string)
	}
	return m
}

// orders compares the segments of orders-0 with what was acknowledged.
func (v *verifier) orders(w *clusterWorld, f files) {
	var bases []int64
	for name := range f {
		if base, ok := strings.CutSuffix(name, ".log"); ok && strings.HasPrefix(name, "orders-0/") {
			n, err := strconv.ParseInt(strings.TrimPrefix(base, "orders-0/"), 10, 64)
			v.ok(name, err)
			bases = append(bases, n)
		}
	}
	slices.Sort(bases)
	v.is("more than two segments", len(bases) > 2, true)
	next, sequences := 0, map[int64]int64{}
	for _, base := range bases {
		prefix := fmt.Sprintf("orders-0/%020d", base)
		batches := v.batches(f[prefix+".log"])
		v.is("base offset", batches[0].values["baseOffset"], base)
		for _, b := range batches {
			count := len(b.records)
			first := w.orders[next]
			epoch := int32(-1)
			for start, e := range w.epochStarts {
				if first.offset >= start && e > epoch {
					epoch = e
				}
			}
			last := w.orders[next+count-1]
			producer := b.values["producerId"].(int64)
			if first.codec == record.None {
				v.is("producer", producer, w.producer.ProducerID)
				v.is("producer epoch", b.values["producerEpoch"], int64(w.producer.ProducerEpoch))
			}
			v.fields(fmt.Sprintf("batch %d", first.offset), b.values, values{
				"baseOffset": first.offset, "batchLength": b.end - b.position - 12, "partitionLeaderEpoch": int64(epoch), "magic": int64(2), "crc": b.values["crc"],
				"attributes": int64(first.codec), "lastOffsetDelta": int64(count - 1), "baseTimestamp": first.Timestamp.UnixMilli(), "maxTimestamp": last.Timestamp.UnixMilli(),
				"producerId": producer, "producerEpoch": int64(0), "baseSequence": sequences[producer], "recordCount": int64(count), "records": b.values["records"],
			})
			v.fields("attributes", b.bits, values{"codec": int64(first.codec), "logAppendTime": int64(0), "transactional": int64(0), "control": int64(0), "deleteHorizon": int64(0)})
			sequences[producer] += int64(count)
			for i, r := range b.records {
				want := w.orders[next+i]
				keyLength := int64(len(want.Key))
				if want.Key == nil {
					keyLength = -1
				}
				v.fields(fmt.Sprintf("record %d", want.offset), r, values{
					"length": r["length"], "attributes": int64(0), "timestampDelta": want.Timestamp.UnixMilli() - first.Timestamp.UnixMilli(), "offsetDelta": int64(i),
					"keyLength": keyLength, "key": want.Key, "valueLength": int64(len(want.Value)), "value": want.Value,
					"headerCount": int64(len(want.Headers)), "headers": r["headers"],
				})
				headers := r["headers"].([]any)
				v.is("headers", len(headers), len(want.Headers))
				for j, h := range want.Headers {
					n := int64(len(h.Value))
					if h.Value == nil {
						n = -1
					}
					v.fields("header", headers[j].(values), values{"keyLength": int64(len(h.Key)), "key": h.Key, "valueLength": n, "value": h.Value})
				}
			}
			next += count
		}
		v.indexes(base, batches, f[prefix+".index"], f[prefix+".timeindex"])
		if s := f[prefix+".snapshot"]; s != nil {
			v.snapshotOfOrders(w, base, s, f[prefix+".producers"])
		}
	}
	v.is("records", next, len(w.orders))
}

// indexes compares both indexes of a segment with its batches.
func (v *verifier) indexes(base int64, batches []readBatch, offsets, times []byte) {
	lastOf := map[int64]int64{}
	largest := map[int64]int64{} // by last offset: timestamp of the first batch that has it
	top := int64(-1)
	for _, b := range batches {
		last := b.values["baseOffset"].(int64) + b.values["lastOffsetDelta"].(int64)
		lastOf[b.position] = last
		if ts := b.values["maxTimestamp"].(int64); ts > top {
			top, largest[last] = ts, ts
		}
	}
	for _, e := range v.decodeAll("index", offsets) {
		v.fields("index entry", e, values{"position": e["position"], "relativeOffset": lastOf[e["position"].(int64)] - base})
	}
	entries := v.decodeAll("timeindex", times)
	for _, e := range entries {
		v.fields("timeindex entry", e, values{"relativeOffset": e["relativeOffset"], "timestamp": largest[base+e["relativeOffset"].(int64)]})
	}
}

// snapshotOfOrders compares a snapshot with the records in front of it.
func (v *verifier) snapshotOfOrders(w *clusterWorld, offset int64, snapshot, side []byte) {
	s := v.decode("snapshot", snapshot)
	v.is("version", s["version"], int64(1))
	v.is("count", s["count"], int64(len(s["entries"].([]any))))
	for _, x := range s["entries"].([]any) {
		e := x.(values)
		codec := record.Zstd
		if e["producerId"] == w.producer.ProducerID {
			codec = record.None
		}
		last, sequence := written{}, int64(-1)
		for _, o := range w.orders {
			if o.offset < offset && o.codec == codec {
				last = o
				sequence++
			}
		}
		v.fields("snapshot entry", e, values{
			"producerId": e["producerId"], "producerEpoch": int64(0), "lastSequence": sequence, "lastOffset": last.offset, "offsetDelta": int64(0), "timestamp": last.Timestamp.UnixMilli(),
			"coordinatorEpoch": int64(-1), "currentTxnFirstOffset": int64(-1),
		})
	}
	v.is("snapshot's crc", v.decode("producers", side)["snapshotCrc"], int64(crc32.Checksum(snapshot, crc32.MakeTable(crc32.Castagnoli))))
}

// log compares the one partition of logWorld with what was appended.
func (v *verifier) log(w *logWorld) {
	batches := v.batches(w.files["ledger-6/00000000000000000000.log"])
	type want struct {
		producer, epoch, sequence, count int64
		transactional, control           int64
	}
	wants := []want{
		{-1, -1, -1, 1, 0, 0},
		{txnProducer, txnEpoch, 0, 1, 1, 0},
		{txnProducer, txnEpoch, 1, 2, 1, 0},
		{txnProducer, txnEpoch, -1, 1, 1, 1},
		{openProducer, openEpoch, 0, 1, 1, 0},
		{idempotentProducer, idempotentEpoch, 100, 1, 0, 0},
		{idempotentProducer, idempotentEpoch, 101, 2, 0, 0},
		{heldProducer, heldEpoch, 0, 1, 1, 0},
		{heldProducer, heldEpoch, -1, 1, 1, 1},
	}
	v.is("batches", len(batches), len(wants))
	for bit := range 4 { // what the code calls them, also the one that no node sets
		b := make(record.Batch, record.HeaderSize)
		b[22] = 8 << bit
		bits, err := v.t.decodeBits("batch.attributes", int64(8<<bit))
		v.ok("attributes", err)
		for name, has := range map[string]bool{"logAppendTime": b.LogAppendTime(), "transactional": b.Transactional(), "control": b.Control(), "deleteHorizon": b.HasDeleteHorizon()} {
			v.is(name, bits[name] == int64(1), has)
		}
	}
	offset := int64(0)
	at := func(o int64) int64 { return w.base.UnixMilli() + 1000*o }
	for i, b := range batches {
		x := wants[i]
		v.is("batch", []any{b.values["baseOffset"], b.values["partitionLeaderEpoch"], b.values["producerId"], b.values["producerEpoch"], b.values["baseSequence"], b.values["recordCount"], b.values["baseTimestamp"]},
			[]any{offset, int64(4), x.producer, x.epoch, x.sequence, x.count, at(offset)})
		v.fields("attributes", b.bits, values{"codec": int64(0), "logAppendTime": int64(0), "transactional": x.transactional, "control": x.control, "deleteHorizon": int64(0)})
		if x.control == 1 {
			kind := int64(record.ControlAbort)
			if x.producer == heldProducer {
				kind = int64(record.ControlCommit)
			}
			v.fields("control key", v.decode("control.key", b.records[0]["key"].([]byte)), values{"version": int64(0), "type": kind})
			v.fields("control value", v.decode("control.value", b.records[0]["value"].([]byte)), values{"version": int64(0), "coordinatorEpoch": int64(txnCoordinator)})
		}
		offset += x.count
	}
	aborted := v.decodeAll("txnindex", w.files["ledger-6/00000000000000000000.txnindex"])
	v.is("aborted transactions", len(aborted), 1)
	v.fields("aborted transaction", aborted[0], values{"version": int64(0), "producerId": int64(txnProducer), "firstOffset": int64(1), "lastOffset": int64(4), "lastStableOffset": int64(5)})

	snapshot := w.files["ledger-6/00000000000000000011.snapshot"]
	s := v.decode("snapshot", snapshot)
	var entries []any
	entry := func(id, epoch, sequence, last, delta, ts, coordinator, first int64) {
		entries = append(entries, values{
			"producerId": id, "producerEpoch": epoch, "lastSequence": sequence, "lastOffset": last, "offsetDelta": delta, "timestamp": ts, "coordinatorEpoch": coordinator,
			"currentTxnFirstOffset": first,
		})
	}
	entry(idempotentProducer, idempotentEpoch, 102, 8, 1, at(8), -1, -1)
	entry(txnProducer, txnEpoch, 2, 3, 1, at(4), txnCoordinator, -1)
	entry(openProducer, openEpoch, 0, 5, 0, at(5), -1, 5)
	entry(heldProducer, heldEpoch, 0, 9, 0, at(10), txnCoordinator, -1)
	v.fields("snapshot", s, values{"version": int64(1), "crc": s["crc"], "count": int64(4), "entries": entries})

	p := v.decode("producers", w.files["ledger-6/00000000000000000011.producers"])
	batch := func(o, sequence int64) []any {
		return []any{values{"lastSequence": sequence, "offsetDelta": int64(0), "lastOffset": o, "timestamp": at(o)}}
	}
	v.fields("producers", p, values{
		"magic": "ipsb", "version": int64(1), "crc": p["crc"], "snapshotCrc": int64(crc32.Checksum(snapshot, crc32.MakeTable(crc32.Castagnoli))), "producerCount": int64(2),
		"producers": []any{
			values{"producerId": int64(idempotentProducer), "batchCount": int64(1), "batches": batch(6, 100)}, values{"producerId": int64(txnProducer), "batchCount": int64(1), "batches": batch(1, 0)},
		},
		"transactionCount": int64(1), "transactions": []any{values{"producerId": int64(heldProducer), "firstOffset": int64(heldFirst), "lastOffset": int64(heldEnd)}},
	})
	v.is("clean shutdown", v.json("clean-shutdown", w.files[".kafka_cleanshutdown"])["brokerEpoch"], int64(77))
	v.is("topic id", v.text("partition.metadata", w.files["ledger-6/partition.metadata"])[1]["topicId"], w.topicID.String())
	v.is("high watermark", v.offsets("replication-offset-checkpoint", "highWatermark", w.files), map[string]string{"facts-2": "6", "ledger-6": "9"})
	v.is("recovery point", v.offsets("recovery-point-offset-checkpoint", "recoveryPoint", w.files), map[string]string{"facts-2": "6", "ledger-6": "11"})
	seal := v.decode("seal", w.files["facts-2/00000000000000000000.seal"])
	id := log.TopicID{2}
	sealed := values{
		"magic": []byte("ipsl"), "version": int64(1), "crc": seal["crc"], "topicId": id[:], "partition": int64(2), "baseOffset": int64(0), "nextOffset": int64(4),
		"batches": int64(len(v.batches(w.files["facts-2/00000000000000000000.log"]))),
	}
	for _, kind := range []string{"log", "index", "timeindex", "txnindex"} {
		sealed[kind+"Size"], sealed[kind+"Hash"] = int64(-1), uint64(0)
		if b, ok := w.files["facts-2/00000000000000000000."+kind]; ok {
			sealed[kind+"Size"], sealed[kind+"Hash"] = int64(len(b)), xxhash.Sum64(b)
		}
	}
	v.fields("seal", seal, sealed)
	v.is("compacted", v.offsets("cleaner-offset-checkpoint", "firstDirtyOffset", w.files), map[string]string{"facts-2": "4"})
	state := v.text("broker-state", w.files["broker-state"])
	v.fields("broker state", v.json("broker-state.json", []byte(state[0]["state"].(string))), values{
		"version": int64(0), "directoryId": v.text("meta.properties", w.files["meta.properties"])[1]["directoryId"], "brokerEpoch": int64(77), "incarnation": "", "boot": "mem 0", "relaxed": false,
	})
}
