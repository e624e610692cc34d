package machine

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/insynclog/insync/internal/groups/embedded"
	"github.com/insynclog/insync/internal/groups/entry"
	"github.com/insynclog/insync/internal/groups/partition"
)

// TestTranscripts runs the commands of testdata/*.txt against one coordinator. -rewrite regenerates the outputs. Members are named by what they send; ids that the coordinator makes are id-1, id-2, ….
//
//	new [delay=3s] [max=N] [topics]                    a coordinator without groups; the clock begins
//	topics a:4 b:2 [deleted=c]                         metadata
//	join [member=] [instance=] [topics=a,b] [protocols=range,sticky] [type=] [session=] [rebalance=] [known] [skip] [garbage]
//	sync member= gen= [assign=M1:a/0+a/1;M2:b/0] | heartbeat member= gen= | leave member=|instance= …
//	beat member= epoch= [topics=] [regex=] [owned=a/0,a/1|none] [instance=] [assignor=] [rebalance=]
//	resolved regex= topics=                            the outcome of a pattern
//	commit [member=] [epoch=-1] [by-epoch] a/0=5 …     an OffsetCommit
//	offsets | describe | list | state                  reads
//	delete-offsets a/0 | delete-group
//	advance 10s                                        the clock moves, timers ring one after the other
//	failing                                            the next write fails
//	hold | release                                     what is in between is one round: nothing is flushed before its end
//	reload                                             a new coordinator from the log
//
// Every command is followed by a flush: what is written is shown, then the replies that it lets go. All are for group g unless group= says otherwise.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		e := &env{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return e.run(t, d) })
	})
}

// env is a coordinator with its log.
type env struct {
	c       *Coordinator
	config  Config
	topics  topicMap
	now     time.Time
	id      uint64
	asked   map[uint64]string
	log     []entry.Entry
	failing bool
	held    bool
	out     strings.Builder
	fx      Effects
}

func (e *env) run(t *testing.T, d *datadriven.TestData) string {
	a := args{t, d}
	e.out.Reset()
	e.fx.Reset()
	switch d.Cmd {
	case "new":
		e.begin(a)
	case "topics":
		topics := topicMap{}
		for _, arg := range d.CmdArgs {
			if name, n, ok := strings.Cut(arg.Key, ":"); ok {
				topics[name] = int32(a.number(n))
			}
		}
		e.topics = topics
		e.c.SetMetadata(e.now, topics, a.list("deleted"), &e.fx)
	case "advance":
		e.advance(a.duration(d.CmdArgs[0].Key))
	case "failing":
		e.failing = true
	case "hold", "release":
		e.held = d.Cmd == "hold"
	case "resolved":
		e.c.RegexResolved(e.now, a.group(), a.text("regex"), a.list("topics"), 1, &e.fx)
	case "reload":
		e.reload(t)
	case "offsets", "describe", "list", "state":
		e.read(a)
	default:
		e.id++
		e.asked[e.id] = d.Cmd
		e.c.Step(e.now, e.id, e.request(a), &e.fx)
	}
	e.settle()
	return e.out.String()
}

func (e *env) say(format string, args ...any) { fmt.Fprintf(&e.out, format+"\n", args...) }

func (e *env) begin(a args) {
	*e = env{config: testConfig(), now: time.UnixMilli(1_700_000_000_000), asked: map[uint64]string{}, topics: topicMap{"a": 4, "b": 2}}
	if a.has("delay") {
		e.config.InitialRebalanceDelay = a.duration(a.text("delay"))
	}
	if a.has("max") {
		e.config.MaxSize, e.config.ConsumerMaxSize = a.number(a.text("max")), a.number(a.text("max"))
	}
	e.c = New(e.config)
	e.c.Loaded(e.now, e.topics, &e.fx)
}

// settle writes until there is nothing to write, and shows everything in order.
func (e *env) settle() {
	e.effects()
	for !e.held {
		entries := e.c.Flush(e.now, &e.fx)
		e.effects()
		if len(entries) == 0 {
			return
		}
		for _, en := range entries {
			e.say("  write %s", e.entry(en))
		}
		var err error
		if e.failing {
			err, e.failing = ErrCoordinatorNotAvailable, false
			e.say("  the write fails")
		} else {
			e.log = append(e.log, entries...)
		}
		e.c.Written(e.now, err, &e.fx)
		e.effects()
	}
}

func (e *env) effects() {
	for _, n := range e.fx.Notices {
		e.say("  note %s: %s", n.Group, n.Text)
	}
	for _, r := range e.fx.Regexes {
		e.say("  resolve %q", r.Regex)
	}
	for _, r := range e.fx.Replies {
		what, ok := e.asked[r.ID]
		if !ok {
			e.say("  A SECOND REPLY TO %d", r.ID)
		}
		delete(e.asked, r.ID)
		e.say("%d %s -> %s", r.ID, what, e.reply(r))
	}
	e.fx.Reset()
}

func (e *env) advance(d time.Duration) {
	end := e.now.Add(d)
	for {
		next, ok := e.c.Next()
		if !ok || next.After(end) {
			break
		}
		before := e.out.String()
		e.out.Reset()
		e.now = next
		e.c.Tick(e.now, &e.fx)
		e.settle()
		if what := e.out.String(); what != "" { // else it was not interesting
			before += fmt.Sprintf("  after %v\n", d-end.Sub(next)) + what
		}
		e.out.Reset()
		e.out.WriteString(before)
	}
	e.now = end
}

func (e *env) reload(t *testing.T) {
	want := slices.Collect(e.c.Entries())
	c := New(e.config)
	for _, en := range e.log {
		c.Replay(recode(t, en))
	}
	if got := slices.Collect(c.Entries()); !slices.EqualFunc(got, want, func(a, b entry.Entry) bool { return e.entry(a) == e.entry(b) }) {
		e.say("THE STATE IS ANOTHER ONE")
	}
	for _, id := range slices.Sorted(maps.Keys(e.asked)) {
		e.say("%d %s has nobody to answer it", id, e.asked[id])
		delete(e.asked, id)
	}
	e.c = c
	c.Loaded(e.now, e.topics, &e.fx)
}

func (e *env) request(a args) Request {
	g := a.group()
	switch a.d.Cmd {
	case "join":
		return e.join(a)
	case "sync":
		r := &Sync{Group: g, MemberID: a.text("member"), InstanceID: a.text("instance"), Generation: int32(a.number(a.or("gen", "-1"))), Protocol: a.text("protocol")}
		if a.has("assign") {
			for _, one := range strings.Split(a.text("assign"), ";") {
				m, tps, _ := strings.Cut(one, ":")
				r.Assignments = append(r.Assignments, Assignment{MemberID: m, Assignment: e.assignment(tps)})
			}
		}
		return r
	case "heartbeat":
		return &Heartbeat{Group: g, MemberID: a.text("member"), InstanceID: a.text("instance"), Generation: int32(a.number(a.text("gen")))}
	case "leave":
		return &Leave{Group: g, Members: []LeavingMember{{MemberID: a.text("member"), InstanceID: a.text("instance")}}}
	case "beat":
		return e.beat(a)
	case "commit":
		r := &Commit{Group: g, MemberID: a.text("member"), InstanceID: a.text("instance"), Epoch: int32(a.number(a.or("epoch", "-1"))), ByEpoch: a.has("by-epoch")}
		for _, arg := range a.d.CmdArgs {
			if topic, n, ok := strings.Cut(arg.Key, "/"); ok {
				o := CommitOffset{Topic: topic, Partition: int32(a.number(n)), Offset: int64(a.number(arg.Vals[0])), LeaderEpoch: -1}
				if len(arg.Vals) > 1 {
					o.Metadata = strings.Repeat("x", a.number(arg.Vals[1]))
				}
				r.Offsets = append(r.Offsets, o)
			}
		}
		return r
	case "delete-offsets":
		r := &DeleteOffsets{Group: g}
		for _, arg := range a.d.CmdArgs {
			if topic, n, ok := strings.Cut(arg.Key, "/"); ok {
				r.Partitions = append(r.Partitions, TopicPartition{topic, int32(a.number(n))})
			}
		}
		return r
	case "delete-group":
		return &DeleteGroup{Group: g}
	}
	a.d.Fatalf(a.t, "unknown command %s", a.d.Cmd)
	return nil
}

// assignment reads a/0+a/1 for one in the embedded protocol; anything else stands for itself.
func (e *env) assignment(s string) []byte {
	if !strings.Contains(s, "/") {
		return []byte(s)
	}
	byTopic := map[string][]int32{}
	for _, tp := range strings.Split(s, "+") {
		topic, n, _ := strings.Cut(tp, "/")
		number, _ := strconv.Atoi(n)
		byTopic[topic] = append(byTopic[topic], int32(number))
	}
	var as embedded.Assignment
	for _, topic := range slices.Sorted(maps.Keys(byTopic)) {
		as.Partitions = append(as.Partitions, embedded.TopicPartitions{Topic: topic, Partitions: byTopic[topic]})
	}
	return as.Append(nil, 0)
}

// shown is an assignment in words.
func shown(assignment []byte) string {
	if len(assignment) > 0 && assignment[0] == 0 {
		if as, err := embedded.ParseAssignment(assignment); err == nil {
			return fmt.Sprint(as.Partitions)
		}
	}
	return fmt.Sprintf("%q", assignment)
}

func (e *env) join(a args) *Join {
	r := &Join{
		Group: a.group(), MemberID: a.text("member"), InstanceID: a.text("instance"), ClientID: "client", ClientHost: "/host", SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute,
		ProtocolType: a.or("type", "consumer"), RequireMemberID: a.has("known"), SkipAssignment: a.has("skip"),
	}
	if a.has("session") {
		r.SessionTimeout = a.duration(a.text("session"))
	}
	if a.has("rebalance") {
		r.RebalanceTimeout = a.duration(a.text("rebalance"))
	}
	owned := a.set(e, "owned")
	sub := embedded.Subscription{Topics: a.list("topics"), Generation: -1}
	for _, t := range owned {
		topic, _ := e.topics.TopicByID(t.ID)
		sub.Owned = append(sub.Owned, embedded.TopicPartitions{Topic: topic.Name, Partitions: t.Numbers})
	}
	metadata := sub.Append(nil, 3)
	if a.has("garbage") {
		metadata = []byte{0xff, 0xff, 1}
	}
	for _, p := range strings.Split(a.or("protocols", "range"), ",") {
		r.Protocols = append(r.Protocols, Protocol{Name: p, Metadata: metadata})
	}
	return r
}

func (e *env) beat(a args) *ConsumerHeartbeat {
	r := &ConsumerHeartbeat{
		Group: a.group(), MemberID: a.text("member"), MemberEpoch: int32(a.number(a.text("epoch"))), InstanceID: a.text("instance"), ClientID: "client", ClientHost: "/host", RebalanceTimeout: -1,
	}
	if r.MemberEpoch == JoinEpoch {
		r.RebalanceTimeout, r.Owned = time.Minute, new(partition.Set)
	}
	if a.has("topics") {
		r.Topics = append([]string{}, a.list("topics")...)
	}
	if a.has("regex") {
		pattern := a.text("regex")
		r.Regex = &pattern
	}
	if a.has("assignor") {
		name := a.text("assignor")
		r.Assignor = &name
	}
	if a.has("owned") {
		owned := a.set(e, "owned")
		r.Owned = &owned
	}
	if a.has("rebalance") {
		r.RebalanceTimeout = a.duration(a.text("rebalance"))
	}
	return r
}

func (e *env) read(a args) {
	switch a.d.Cmd {
	case "offsets":
		for _, o := range e.c.Offsets(a.group()) {
			e.say("%s/%d=%d", o.Topic, o.Partition, o.Offset)
		}
	case "list":
		for _, l := range e.c.List() {
			e.say("%s %s %q %s", l.ID, l.Type, l.ProtocolType, l.State)
		}
	case "describe", "state":
		if d, ok := e.c.DescribeConsumer(a.group()); ok {
			e.say("consumer %s epoch=%d target=%d assignor=%s", d.State, d.Epoch, d.TargetEpoch, d.Assignor)
			for _, m := range d.Members {
				e.say("  %s epoch=%d assigned=[%s] target=[%s]%s", m.MemberID, m.Epoch, e.set(m.Assigned), e.set(m.Target), map[bool]string{true: " classic"}[m.Classic])
			}
			return
		}
		d, ok := e.c.Describe(a.group())
		if !ok {
			e.say("none")
			return
		}
		e.say("classic %s %q %q", d.State, d.ProtocolType, d.Protocol)
		for _, m := range d.Members {
			e.say("  %s instance=%q assignment=%s", m.MemberID, m.InstanceID, shown(m.Assignment))
		}
	}
}

// reply is an answer in a line.
func (e *env) reply(r Reply) string {
	var s string
	switch v := r.Result.(type) {
	case *Joined:
		s = fmt.Sprintf("member=%s gen=%d protocol=%s leader=%s", v.MemberID, v.Generation, v.Protocol, v.Leader)
		if v.SkipAssignment {
			s += " skip-assignment"
		}
		for _, m := range v.Members {
			s += " +" + m.MemberID
		}
	case *Synced:
		s = fmt.Sprintf("protocol=%s assignment=%s", v.Protocol, shown(v.Assignment))
	case *ConsumerState:
		s = fmt.Sprintf("epoch=%d every=%v", v.MemberEpoch, v.HeartbeatInterval)
		if v.Assignment != nil {
			s += fmt.Sprintf(" assigned=[%s]", e.set(*v.Assignment))
		}
	case *Committed:
		s = fmt.Sprint(v.Errs)
	case *DeletedOffsets:
		s = fmt.Sprint(v.Errs)
	case *Left:
		s = fmt.Sprint(v.Errs)
	case nil:
		s = "ok"
	}
	if r.Err != nil {
		if _, ok := r.Result.(*Joined); ok && r.Err == ErrMemberIDRequired {
			return fmt.Sprintf("%v (%s)", r.Err, s)
		}
		return r.Err.Error()
	}
	return s
}

func (e *env) set(s partition.Set) string {
	var names []string
	for p := range s.All {
		names = append(names, fmt.Sprintf("%s/%d", strings.TrimRight(string(p.Topic[:]), "\x00"), p.Number))
	}
	return strings.Join(names, ",")
}

// entry is an entry in a line.
func (e *env) entry(en entry.Entry) string {
	switch v := en.(type) {
	case *entry.Offset:
		if v.Gone {
			return fmt.Sprintf("offset %s %s/%d gone", v.Group, v.Topic, v.Partition)
		}
		return fmt.Sprintf("offset %s %s/%d=%d", v.Group, v.Topic, v.Partition, v.Offset)
	case *entry.Classic:
		if v.Gone {
			return fmt.Sprintf("classic %s gone", v.Group)
		}
		s := fmt.Sprintf("classic %s gen=%d protocol=%s leader=%s", v.Group, v.Generation, v.Protocol, v.Leader)
		for _, m := range v.Members {
			s += fmt.Sprintf(" +%s:%s", m.ID, shown(m.Assignment))
		}
		return s
	case *entry.Group:
		if v.Gone {
			return fmt.Sprintf("group %s gone", v.Group)
		}
		return fmt.Sprintf("group %s epoch=%d", v.Group, v.Epoch)
	case *entry.Member:
		if v.Gone {
			return fmt.Sprintf("member %s gone", v.MemberID)
		}
		return fmt.Sprintf("member %s instance=%q topics=%v regex=%q assignor=%q classic=%v", v.MemberID, v.InstanceID, v.Topics, v.Regex, v.Assignor, v.Classic != nil)
	case *entry.Target:
		if v.Gone {
			return fmt.Sprintf("target %s gone", v.Group)
		}
		return fmt.Sprintf("target %s epoch=%d", v.Group, v.Epoch)
	case *entry.TargetMember:
		if v.Gone {
			return fmt.Sprintf("target of %s gone", v.MemberID)
		}
		return fmt.Sprintf("target of %s [%s]", v.MemberID, e.set(v.Partitions))
	case *entry.Current:
		if v.Gone {
			return fmt.Sprintf("current %s gone", v.MemberID)
		}
		return fmt.Sprintf("current %s epoch=%d previous=%d %v assigned=[%s] revoking=[%s]", v.MemberID, v.Epoch, v.PreviousEpoch, v.State, e.set(v.Assigned), e.set(v.Revoking))
	case *entry.Regex:
		return fmt.Sprintf("regex %q topics=%v gone=%v", v.Regex, v.Topics, v.Gone)
	}
	return fmt.Sprintf("%T", en)
}

// args are a command's arguments.
type args struct {
	t *testing.T
	d *datadriven.TestData
}

func (a args) has(key string) bool {
	return slices.ContainsFunc(a.d.CmdArgs, func(c datadriven.CmdArg) bool { return c.Key == key })
}

func (a args) text(key string) string { return a.or(key, "") }

func (a args) or(key, other string) string {
	for _, c := range a.d.CmdArgs {
		if c.Key == key {
			return strings.Join(c.Vals, ",")
		}
	}
	return other
}

func (a args) group() string { return a.or("group", "g") }

func (a args) list(key string) []string {
	if s := a.text(key); s != "" {
		return strings.Split(s, ",")
	}
	return nil
}

func (a args) number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		a.d.Fatalf(a.t, "%v", err)
	}
	return n
}

func (a args) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		a.d.Fatalf(a.t, "%v", err)
	}
	return d
}

// set reads a/0,a/1; "none" is empty.
func (a args) set(e *env, key string) partition.Set {
	var ps []partition.Partition
	for _, s := range a.list(key) {
		if topic, n, ok := strings.Cut(s, "/"); ok {
			ps = append(ps, partition.Partition{Topic: topicID(topic), Number: int32(a.number(n))})
		}
	}
	return partition.Of(ps...)
}
