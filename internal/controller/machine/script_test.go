package machine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/insynclog/insync/log"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestScripts runs the transcripts in testdata: requests in, answers and records out. Run with -rewrite after a change, and read the difference.
//
//	register ID [rack=R] [incarnation=N] [previous=EPOCH] [rebooted] [dir=N] [cluster=ID]
//	heartbeat ID [fence] [shutdown] [offline] [slow] [offset=N] [epoch=N] [NAME-N=EPOCH:OFFSET …] [steps] [down=NAME-N:EPOCH]   with where its logs end; from steps on the broker steps down when it is asked to
//	wait DURATION              lets time pass, with a tick at the end
//	live DURATION              the same with a heartbeat of every broker each second
//	create NAME [partitions=N] [rf=N] [assign=0:1,2;1:2,3] [validate] [KEY=VALUE …]
//	delete NAME … | delete id=NAME
//	grow NAME count=N [assign=1,2;2,3] [validate]
//	configs topic=NAME|broker=ID|cluster [validate]      with lines: set K=V, delete K, append K=V, subtract K=V, null K
//	replace topic=NAME|broker=ID|cluster                 AlterConfigs, with lines as configs has them
//	unregister ID
//	isr FROM NAME-N isr=1,2 [leader-epoch=N] [partition-epoch=N] [broker-epoch=N] [member=ID:EPOCH] [recovering] [drained=ID]
//	reassign NAME-N=1,2|cancel … [factor]               with factor it may not change
//	reassignments [NAME-N …]
//	elect preferred|unclean [NAME-N …]                  without names all partitions
//	producer-ids ID
//	show                       the image
//	takeover                   another controller becomes active
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{t: t, now: time.Unix(1_000_000, 0), img: Empty(), steps: map[int32]bool{}}
		s.c = Config{
			ClusterID: "cluster", SessionTimeout: 9 * time.Second, DefaultPartitions: 1, PreferredInterval: 300 * time.Second,
			Rand: rand.New(rand.NewPCG(1, 2)), Static: map[string]string{},
		}
		s.m = New(s.c, s.img, s.now)
		b := s.m.Begin(s.img, 0, s.now)
		b.Found()
		s.commit(b)
		datadriven.RunTest(t, path, s.run)
	})
}

type script struct {
	t   *testing.T
	c   Config
	m   *Machine
	img *Image
	now time.Time
	out strings.Builder

	steps map[int32]bool // who steps down when it is asked to
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	s.t = t
	s.out.Reset()
	args := map[string]string{}
	var words []string
	for _, a := range d.CmdArgs {
		if len(a.Vals) > 0 {
			args[a.Key] = strings.Join(a.Vals, ",")
		} else {
			words = append(words, a.Key)
		}
	}
	switch d.Cmd {
	case "static":
		maps.Copy(s.c.Static, args)
		return ""
	case "wait":
		dur, err := time.ParseDuration(words[0])
		require.NoError(t, err)
		s.now = s.now.Add(dur)
		b := s.m.Begin(s.img, s.img.Offset+1, s.now)
		b.Tick()
		s.commit(b)
	case "live":
		dur, err := time.ParseDuration(words[0])
		require.NoError(t, err)
		for range dur / time.Second {
			s.now = s.now.Add(time.Second)
			b := s.m.Begin(s.img, s.img.Offset+1, s.now)
			b.Tick()
			for _, id := range s.img.BrokerIDs() {
				if !s.img.Brokers[id].Fenced {
					_, err := b.Handle(s.heartbeat([]string{strconv.Itoa(int(id))}, nil))
					require.NoError(t, err)
				}
			}
			s.commit(b)
		}
	case "takeover":
		s.m = New(s.c, s.img, s.now)
	case "show":
		s.show(words)
	default:
		s.request(d, words, args)
	}
	if s.out.Len() == 0 {
		return "ok\n"
	}
	return s.out.String()
}

func (s *script) request(d *datadriven.TestData, words []string, args map[string]string) {
	var req kmsg.Request
	switch d.Cmd {
	case "register":
		req = s.register(words, args)
	case "heartbeat":
		req = s.heartbeat(words, args)
	case "create":
		req = s.create(d, words, args)
	case "delete":
		req = s.remove(words, args)
	case "grow":
		req = s.grow(words, args)
	case "configs":
		req = s.configs(d, words, args)
	case "isr":
		req = s.isr(words, args)
	case "reassign":
		req = s.reassign(d)
	case "reassignments":
		req = s.reassignments(words)
	case "replace":
		req = replacing(s.configs(d, words, args).(*kmsg.IncrementalAlterConfigsRequest))
	case "unregister":
		r := kmsg.NewPtrUnregisterBrokerRequest()
		r.BrokerID = s.int32(words[0])
		req = r
	case "elect":
		req = s.elect(words)
	case "producer-ids":
		r := kmsg.NewPtrAllocateProducerIDsRequest()
		r.BrokerID, r.BrokerEpoch = s.int32(words[0]), s.epoch(words[0], args)
		req = r
	default:
		s.t.Fatalf("unknown command %s", d.Cmd)
	}
	b := s.m.Begin(s.img, s.img.Offset+1, s.now)
	resp, err := b.Handle(req)
	require.NoError(s.t, err)
	s.answer(resp)
	s.commit(b)
}

// commit applies a batch as every member of the quorum does, and holds the result against the draft and the invariants.
func (s *script) commit(b *Batch) {
	records, err := b.Records()
	require.NoError(s.t, err)
	if len(records) == 0 {
		return
	}
	decoded, err := DecodeRecords(EncodeRecords(nil, records))
	require.NoError(s.t, err)
	old := s.img
	img, delta, err := old.Apply(s.img.Offset+1, 1, decoded)
	require.NoError(s.t, err)
	names := s.names(old, img)
	for _, r := range records {
		fmt.Fprintf(&s.out, "  %s\n", names.Replace(r.String()))
	}
	draft := *b.Image()
	draft.Offset, draft.Epoch = img.Offset, img.Epoch
	require.True(s.t, img.Equal(&draft), "the draft differs from what was applied")
	want := Diff(old, img)
	require.Subset(s.t, delta.Topics, want.Topics)
	require.Equal(s.t, want.Brokers, delta.Brokers)
	require.Equal(s.t, len(want.Deleted), len(delta.Deleted))
	s.img = img
	checkInvariants(s.t, old, img, s.c.Static)
}

// checkInvariants are the ones of the package comment, and those between two images.
func checkInvariants(t testing.TB, old, img *Image, static map[string]string) {
	t.Helper()
	for _, topic := range img.Topics {
		require.Same(t, topic, img.TopicIDs[topic.ID])
		for n, p := range topic.Partitions {
			name := fmt.Sprintf("%s-%d %v", topic.Name, n, p)
			require.NoError(t, p.check(), name)
			for _, id := range p.ISR {
				require.True(t, img.Brokers[id].Active(), "%s: %d is not active", name, id)
			}
			if len(p.ISR) >= img.MinISR(topic, p, static) {
				require.Empty(t, p.ELR, name)
			}
			if len(p.ISR) > 0 {
				require.NotEqual(t, NoLeader, p.Leader, name)
				require.Empty(t, p.LastKnownELR, name)
			}
			if before := old.TopicIDs[topic.ID]; before != nil && n < len(before.Partitions) {
				q := before.Partitions[n]
				require.GreaterOrEqual(t, p.LeaderEpoch, q.LeaderEpoch, name)
				if rose := p.LeaderEpoch > q.LeaderEpoch; !rose {
					require.Equal(t, q.Leader, p.Leader, name)
					require.True(t, subset(q.Replicas, p.Replicas), "%s: a replica went, and the leader epoch stays", name)
				}
				require.Equal(t, !p.equal(q), p.PartitionEpoch > q.PartitionEpoch, name)
			}
		}
	}
	require.Len(t, img.TopicIDs, len(img.Topics))
}

// names replaces topic ids by names.
func (s *script) names(images ...*Image) *strings.Replacer {
	var pairs []string
	for _, img := range images {
		for _, t := range img.Topics {
			pairs = append(pairs, " id="+t.ID.String(), "", t.ID.String(), t.Name)
		}
	}
	return strings.NewReplacer(pairs...)
}

func (s *script) int32(v string) int32 {
	n, err := strconv.ParseInt(v, 10, 32)
	require.NoError(s.t, err)
	return int32(n)
}

func (s *script) ids(v string) (ids []int32) {
	for part := range strings.SplitSeq(v, ",") {
		if part != "" {
			ids = append(ids, s.int32(part))
		}
	}
	return ids
}

func (s *script) number(args map[string]string, key string, otherwise int64) int64 {
	v, ok := args[key]
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseInt(v, 10, 64)
	require.NoError(s.t, err)
	return n
}

func (s *script) epoch(id string, args map[string]string) int64 {
	epoch := int64(-1)
	if b := s.img.Brokers[s.int32(id)]; b != nil {
		epoch = b.Epoch
	}
	return s.number(args, "epoch", epoch)
}

func (s *script) register(words []string, args map[string]string) kmsg.Request {
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.BrokerID, req.ClusterID = s.int32(words[0]), "cluster"
	if v, ok := args["cluster"]; ok {
		req.ClusterID = v
	}
	req.IncarnationID = log.TopicID{1, byte(req.BrokerID), byte(s.number(args, "incarnation", 1))}
	req.PreviousBrokerEpoch = s.number(args, "previous", -1)
	if args["dir"] != "none" {
		req.LogDirs = [][16]byte{{0: 1, 15: byte(s.number(args, "dir", int64(req.BrokerID)))}}
	}
	if rack, ok := args["rack"]; ok {
		req.Rack = &rack
	}
	if slices.Contains(words, "rebooted") {
		SetRebooted(req)
	}
	return req
}

func (s *script) heartbeat(words []string, args map[string]string) kmsg.Request {
	req := kmsg.NewPtrBrokerHeartbeatRequest()
	req.BrokerID, req.BrokerEpoch = s.int32(words[0]), s.epoch(words[0], args)
	req.CurrentMetadataOffset = s.number(args, "offset", s.img.Offset)
	req.WantFence, req.WantShutdown = slices.Contains(words, "fence"), slices.Contains(words, "shutdown")
	if slices.Contains(words, "offline") {
		req.OfflineLogDirs = [][16]byte{s.img.Brokers[req.BrokerID].DirectoryID}
	}
	if slices.Contains(words, "slow") {
		SetSlowDisk(req)
	}
	var down []Leadership
	if v, ok := args["down"]; ok {
		name, epoch, _ := strings.Cut(v, ":")
		name, n, _ := strings.Cut(name, "-")
		down = append(down, Leadership{s.img.Topics[name].ID, s.int32(n), s.int32(epoch)})
	}
	if s.steps[req.BrokerID] = s.steps[req.BrokerID] || slices.Contains(words, "steps"); s.steps[req.BrokerID] {
		SetSteppedDown(req, down)
	}
	var ends []LogEnd
	for _, arg := range slices.Sorted(maps.Keys(args)) {
		if name, n, ok := strings.Cut(arg, "-"); ok && s.img.Topics[name] != nil {
			t := s.img.Topics[name]
			e := LogEnd{TopicID: t.ID, Partition: s.int32(n), LeaderEpoch: t.Partitions[s.int32(n)].LeaderEpoch}
			_, err := fmt.Sscanf(args[arg], "%d:%d", &e.LastEpoch, &e.Offset)
			require.NoError(s.t, err)
			ends = append(ends, e)
		}
	}
	if len(ends) > 0 {
		SetLogEnds(req, ends)
	}
	return req
}

func (s *script) create(d *datadriven.TestData, words []string, args map[string]string) kmsg.Request {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	req.ValidateOnly = slices.Contains(words, "validate")
	names := slices.DeleteFunc(words, func(w string) bool { return w == "validate" })
	if len(names) == 0 {
		names = strings.Split(d.Input, "\n") // names that are no words
	}
	for _, name := range names {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic = strings.Trim(name, `"`)
		if n := strings.TrimPrefix(t.Topic, "long-"); n != t.Topic {
			t.Topic = strings.Repeat("x", int(s.int32(n)))
		}
		t.NumPartitions, t.ReplicationFactor = int32(s.number(args, "partitions", -1)), int16(s.number(args, "rf", -1))
		if a, ok := args["assign"]; ok {
			for part := range strings.SplitSeq(a, ";") {
				n, replicas, _ := strings.Cut(part, ":")
				ra := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
				ra.Partition, ra.Replicas = s.int32(n), s.ids(replicas)
				t.ReplicaAssignment = append(t.ReplicaAssignment, ra)
			}
		}
		for _, k := range slices.Sorted(maps.Keys(args)) {
			if strings.Contains(k, ".") {
				v := args[k]
				c := kmsg.NewCreateTopicsRequestTopicConfig()
				c.Name, c.Value = k, &v
				if v == "null" {
					c.Value = nil
				}
				t.Configs = append(t.Configs, c)
			}
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

func (s *script) remove(words []string, args map[string]string) kmsg.Request {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = int16(s.number(args, "version", 6))
	for _, w := range words {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = &w
		req.Topics = append(req.Topics, t)
	}
	if name, ok := args["id"]; ok {
		t := kmsg.NewDeleteTopicsRequestTopic()
		if topic := s.img.Topics[name]; topic != nil {
			t.TopicID = topic.ID
		} else if name != "none" {
			t.TopicID = [16]byte{1}
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

func (s *script) grow(words []string, args map[string]string) kmsg.Request {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.ValidateOnly = slices.Contains(words, "validate")
	for _, w := range slices.DeleteFunc(words, func(w string) bool { return w == "validate" }) {
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = w, int32(s.number(args, "count", 0))
		if a, ok := args["assign"]; ok {
			for part := range strings.SplitSeq(a, ";") {
				ra := kmsg.NewCreatePartitionsRequestTopicAssignment()
				ra.Replicas = s.ids(part)
				t.Assignment = append(t.Assignment, ra)
			}
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

func (s *script) configs(d *datadriven.TestData, words []string, args map[string]string) kmsg.Request {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.ValidateOnly = slices.Contains(words, "validate")
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	switch {
	case args["topic"] != "":
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, args["topic"]
	case args["broker"] != "":
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeBroker, args["broker"]
	case slices.Contains(words, "cluster"):
		r.ResourceType = kmsg.ConfigResourceTypeBroker
	case slices.Contains(words, "no-topic"):
		r.ResourceType = kmsg.ConfigResourceTypeTopic
	default:
		r.ResourceType = kmsg.ConfigResourceType(99)
	}
	for line := range strings.SplitSeq(d.Input, "\n") {
		op, rest, _ := strings.Cut(line, " ")
		key, value, _ := strings.Cut(rest, "=")
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Value = key, &value
		switch op {
		case "set":
		case "null":
			c.Value = nil
		case "delete":
			c.Op, c.Value = kmsg.IncrementalAlterConfigOpDelete, nil
		case "append":
			c.Op = kmsg.IncrementalAlterConfigOpAppend
		case "subtract":
			c.Op = kmsg.IncrementalAlterConfigOpSubtract
		default:
			c.Op = 9
		}
		r.Configs = append(r.Configs, c)
	}
	req.Resources = append(req.Resources, r)
	if slices.Contains(words, "twice") {
		req.Resources = append(req.Resources, r)
	}
	return req
}

func (s *script) isr(words []string, args map[string]string) kmsg.Request {
	req := kmsg.NewPtrAlterPartitionRequest()
	req.Version = 3
	req.BrokerID = s.int32(words[0])
	req.BrokerEpoch = s.number(args, "broker-epoch", s.epoch(words[0], nil))
	name, n, _ := strings.Cut(words[1], "-")
	t := kmsg.NewAlterPartitionRequestTopic()
	rp := kmsg.NewAlterPartitionRequestTopicPartition()
	rp.Partition = s.int32(n)
	t.TopicID = [16]byte{1}
	var p Partition
	if topic := s.img.Topics[name]; topic != nil {
		t.TopicID = topic.ID
		if q := topic.partition(rp.Partition); q != nil {
			p = *q
		}
	}
	rp.LeaderEpoch = int32(s.number(args, "leader-epoch", int64(p.LeaderEpoch)))
	rp.PartitionEpoch = int32(s.number(args, "partition-epoch", int64(p.PartitionEpoch)))
	if slices.Contains(words, "recovering") {
		rp.LeaderRecoveryState = recovering
	}
	member, epoch, _ := strings.Cut(args["member"], ":")
	for _, id := range s.ids(args["isr"]) {
		m := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
		m.BrokerID, m.BrokerEpoch = id, s.epoch(strconv.Itoa(int(id)), nil)
		if member == strconv.Itoa(int(id)) {
			m.BrokerEpoch = int64(s.int32(epoch))
		}
		rp.NewEpochISR = append(rp.NewEpochISR, m)
	}
	if to, ok := args["drained"]; ok {
		SetDrained(&rp, s.int32(to))
	}
	t.Partitions = append(t.Partitions, rp)
	req.Topics = append(req.Topics, t)
	return req
}

func code(c int16, message *string) string {
	if c == 0 {
		return "ok"
	}
	text := kerr.TypedErrorForCode(c).Message
	if message != nil {
		text += ": " + *message
	}
	return text
}

func (s *script) recalled(r *kmsg.BrokerHeartbeatResponse) (text string) {
	from, all := Recalled(r)
	for _, l := range from {
		text += fmt.Sprintf(" recalled=%s-%d:%d", s.img.TopicIDs[l.TopicID].Name, l.Partition, l.LeaderEpoch)
	}
	if all {
		text += " recalled-all"
	}
	return text
}

func (s *script) answer(resp kmsg.Response) {
	line := func(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }
	switch r := resp.(type) {
	default:
		s.answerAdmin(resp)
	case *kmsg.BrokerRegistrationResponse:
		line("%s epoch=%d", code(r.ErrorCode, nil), r.BrokerEpoch)
	case *kmsg.BrokerHeartbeatResponse:
		line("%s caught-up=%v fenced=%v shut-down=%v%s", code(r.ErrorCode, nil), r.IsCaughtUp, r.IsFenced, r.ShouldShutdown, s.recalled(r))
	case *kmsg.CreateTopicsResponse:
		for _, t := range r.Topics {
			line("%.20s: %s", t.Topic, code(t.ErrorCode, t.ErrorMessage))
		}
	case *kmsg.DeleteTopicsResponse:
		for _, t := range r.Topics {
			name := "?"
			if t.Topic != nil {
				name = *t.Topic
			}
			line("%s: %s", name, code(t.ErrorCode, t.ErrorMessage))
		}
	case *kmsg.CreatePartitionsResponse:
		for _, t := range r.Topics {
			line("%s: %s", t.Topic, code(t.ErrorCode, t.ErrorMessage))
		}
	case *kmsg.IncrementalAlterConfigsResponse:
		for _, t := range r.Resources {
			line("%s", code(t.ErrorCode, t.ErrorMessage))
		}
	case *kmsg.AlterPartitionResponse:
		if r.ErrorCode != 0 {
			line("%s", code(r.ErrorCode, nil))
		}
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode != 0 {
					line("%s", code(p.ErrorCode, nil))
					continue
				}
				line("ok leader=%d leader-epoch=%d isr=%v partition-epoch=%d recovering=%d", p.LeaderID, p.LeaderEpoch, ids(p.ISR), p.PartitionEpoch, p.LeaderRecoveryState)
			}
		}
	case *kmsg.AllocateProducerIDsResponse:
		line("%s start=%d len=%d", code(r.ErrorCode, nil), r.ProducerIDStart, r.ProducerIDLen)
	}
}

func (s *script) show(words []string) {
	for _, id := range s.img.BrokerIDs() {
		if len(words) > 0 {
			break
		}
		b := s.img.Brokers[id]
		fmt.Fprintf(&s.out, "broker %d epoch=%d%s\n", id, b.Epoch, flags(b.Fenced, "fenced", b.InControlledShutdown, "in-controlled-shutdown", b.DirectoryOffline, "directory-offline"))
	}
	for _, name := range s.img.TopicNames() {
		if len(words) > 0 && !slices.Contains(words, name) {
			continue
		}
		t := s.img.Topics[name]
		for _, k := range slices.Sorted(maps.Keys(t.Configs)) {
			fmt.Fprintf(&s.out, "%s %s=%s\n", name, k, t.Configs[k])
		}
		for n, p := range t.Partitions {
			fmt.Fprintf(&s.out, "%s-%d %v\n", name, n, p)
		}
	}
	if s.img.NextProducerID > 0 {
		fmt.Fprintf(&s.out, "next producer id %d\n", s.img.NextProducerID)
	}
}
