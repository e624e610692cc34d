import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.resource.*;
import org.apache.kafka.common.serialization.*;

/** Checks Kafka's own Java client against the cluster in BOOTSTRAP. Each check prints "CHECK name result reason", separated by tabs. */
public final class Foreign {
    static final String BOOTSTRAP = System.getenv("BOOTSTRAP");
    static final boolean SECURE = "secure".equals(System.getenv("MODE"));
    static final String RUN = Long.toString(System.currentTimeMillis(), 36);
    static final long T0 = System.currentTimeMillis() - 3_600_000; // younger than retention

    interface Check { String run() throws Exception; }

    static void check(String name, Check c) {
        System.err.println("--- " + name);
        String result;
        try {
            String note = c.run();
            result = "pass\t" + (note == null ? "" : note);
        } catch (Skip s) {
            result = "skipped\t" + s.getMessage();
        } catch (Throwable t) {
            t.printStackTrace();
            Throwable cause = t instanceof ExecutionException && t.getCause() != null ? t.getCause() : t;
            result = "fail\t" + cause.toString().replaceAll("\\s+", " ");
        }
        System.out.println("CHECK\t" + name + "\t" + result);
        System.out.flush();
    }

    static final class Skip extends RuntimeException { Skip(String why) { super(why); } }

    static void want(boolean ok, String what, Object... args) {
        if (!ok) throw new AssertionError(String.format(what, args));
    }

    static Map<String, Object> base() { return base(System.getenv("SASL_USER"), System.getenv("SASL_PASSWORD")); }

    static Map<String, Object> base(String user, String password) {
        Map<String, Object> m = new HashMap<>();
        m.put("bootstrap.servers", BOOTSTRAP);
        if (SECURE) {
            m.put("security.protocol", "SASL_SSL");
            m.put("ssl.truststore.type", "PEM");
            m.put("ssl.truststore.location", System.getenv("CA"));
            m.put("sasl.mechanism", "SCRAM-SHA-512");
            m.put("sasl.jaas.config", "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"" + user + "\" password=\"" + password + "\";");
        }
        return m;
    }

    static KafkaProducer<String, String> producer(Object... kv) {
        Map<String, Object> m = base();
        m.put("acks", "all");
        m.put("linger.ms", "5");
        for (int i = 0; i < kv.length; i += 2) m.put((String) kv[i], kv[i + 1]);
        return new KafkaProducer<>(m, new StringSerializer(), new StringSerializer());
    }

    static KafkaConsumer<String, String> consumer(Object... kv) {
        Map<String, Object> m = base();
        m.put("auto.offset.reset", "earliest");
        m.put("enable.auto.commit", "false");
        for (int i = 0; i < kv.length; i += 2) m.put((String) kv[i], kv[i + 1]);
        return new KafkaConsumer<>(m, new StringDeserializer(), new StringDeserializer());
    }

    static Admin admin;

    static String topic(String name, int partitions) throws Exception {
        name = "java-" + RUN + "-" + name;
        admin.createTopics(List.of(new NewTopic(name, partitions, (short) 3))).all().get();
        return name;
    }

    /** Reads all of a topic up to its end offsets. */
    static List<ConsumerRecord<String, String>> readAll(String topic, Object... kv) {
        try (KafkaConsumer<String, String> c = consumer(kv)) {
            List<TopicPartition> tps = new ArrayList<>();
            for (PartitionInfo p : c.partitionsFor(topic)) tps.add(new TopicPartition(topic, p.partition()));
            c.assign(tps);
            c.seekToBeginning(tps);
            Map<TopicPartition, Long> end = c.endOffsets(tps);
            List<ConsumerRecord<String, String>> all = new ArrayList<>();
            long deadline = System.nanoTime() + 30_000_000_000L;
            while (tps.stream().anyMatch(tp -> c.position(tp) < end.get(tp))) {
                want(System.nanoTime() < deadline, "%d records after 30 s, ends %s", all.size(), end);
                for (ConsumerRecord<String, String> r : c.poll(Duration.ofMillis(200))) all.add(r);
            }
            return all;
        }
    }

    static String codec(String codec) throws Exception {
        String t = topic("codec-" + codec, 3);
        int n = 2000;
        Map<String, String> sent = new HashMap<>();
        double rate;
        try (KafkaProducer<String, String> p = producer("compression.type", codec)) {
            List<Future<RecordMetadata>> f = new ArrayList<>();
            for (int i = 0; i < n; i++) {
                String k = "k" + i, v = "value " + i + " " + "abc".repeat(i % 50);
                sent.put(k, v);
                f.add(p.send(new ProducerRecord<>(t, k, v)));
            }
            for (Future<RecordMetadata> x : f) x.get();
            rate = p.metrics().entrySet().stream().filter(e -> e.getKey().name().equals("compression-rate-avg") && e.getKey().group().equals("producer-metrics")).mapToDouble(e -> (Double) e.getValue().metricValue()).findFirst().orElse(1);
        }
        want(codec.equals("none") || rate < 0.9, "not compressed: %f", rate);
        Map<String, String> got = new HashMap<>();
        for (ConsumerRecord<String, String> r : readAll(t)) want(got.put(r.key(), r.value()) == null, "%s twice", r.key());
        want(got.equals(sent), "%d records sent, %d received, or other values", sent.size(), got.size());
        return n + " records";
    }

    static String headers() throws Exception {
        String t = topic("headers", 1);
        try (KafkaProducer<String, String> p = producer()) {
            p.send(new ProducerRecord<>(t, 0, "k", "v", List.of(new RecordHeader("a", "1".getBytes()), new RecordHeader("a", "2".getBytes()), new RecordHeader("null", (byte[]) null), new RecordHeader("empty", new byte[0])))).get();
        }
        var h = readAll(t).get(0).headers().toArray();
        want(h.length == 4 && h[0].key().equals("a") && new String(h[0].value()).equals("1") && new String(h[1].value()).equals("2") && h[2].value() == null && h[3].value().length == 0, "headers %s", Arrays.toString(h));
        return null;
    }

    static String tombstones() throws Exception {
        String t = topic("tombstones", 1);
        try (KafkaProducer<String, String> p = producer()) {
            p.send(new ProducerRecord<>(t, "k", null)).get();
            p.send(new ProducerRecord<>(t, null, "")).get();
        }
        var r = readAll(t);
        want(r.size() == 2 && r.get(0).value() == null && "k".equals(r.get(0).key()) && r.get(1).key() == null && "".equals(r.get(1).value()), "got %s", r);
        return null;
    }

    static String timestamps() throws Exception {
        String t = topic("timestamps", 1);
        try (KafkaProducer<String, String> p = producer("batch.size", "1000")) {
            for (int i = 0; i < 500; i++) p.send(new ProducerRecord<>(t, 0, T0 + i * 1000L, "k", "v" + i));
        }
        for (var r : readAll(t)) want(r.timestamp() == T0 + r.offset() * 1000 && r.timestampType() == TimestampType.CREATE_TIME, "offset %d has timestamp %d", r.offset(), r.timestamp());
        TopicPartition tp = new TopicPartition(t, 0);
        try (KafkaConsumer<String, String> c = consumer()) {
            for (int i : new int[] {0, 1, 250, 499}) {
                OffsetAndTimestamp o = c.offsetsForTimes(Map.of(tp, T0 + i * 1000L - 500)).get(tp);
                want(o != null && o.offset() == i && o.timestamp() == T0 + i * 1000L, "time of record %d: %s", i, o);
            }
            want(c.offsetsForTimes(Map.of(tp, T0 + 500_000L)).get(tp) == null, "an offset after the last record");
            want(c.beginningOffsets(List.of(tp)).get(tp) == 0 && c.endOffsets(List.of(tp)).get(tp) == 500, "begin or end");
        }
        var max = admin.listOffsets(Map.of(tp, OffsetSpec.maxTimestamp())).all().get().get(tp);
        want(max.offset() == 499 && max.timestamp() == T0 + 499_000, "max timestamp %s", max);
        // LogAppendTime: the broker's time, told to the producer
        admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.TOPIC, t), List.of(new AlterConfigOp(new ConfigEntry("message.timestamp.type", "LogAppendTime"), AlterConfigOp.OpType.SET)))).all().get();
        long before = System.currentTimeMillis() - 1000;
        try (KafkaProducer<String, String> p = producer()) {
            long deadline = System.nanoTime() + 10_000_000_000L;
            while (true) { // the setting reaches the leader a little later
                RecordMetadata md = p.send(new ProducerRecord<>(t, 0, T0, "k", "late")).get();
                if (md.timestamp() >= before) break;
                want(System.nanoTime() < deadline, "LogAppendTime not in force after 10 s: %d", md.timestamp());
            }
        }
        var all = readAll(t);
        var last = all.get(all.size() - 1);
        want(last.timestamp() >= before && last.timestampType() == TimestampType.LOG_APPEND_TIME, "last record %s %s", last.timestamp(), last.timestampType());
        return null;
    }

    static String idempotent() throws Exception {
        String t = topic("idempotent", 1);
        int n = 20_000;
        try (KafkaProducer<String, String> p = producer("enable.idempotence", "true", "max.in.flight.requests.per.connection", "5", "batch.size", "2000", "linger.ms", "0")) {
            for (int i = 0; i < n; i++) p.send(new ProducerRecord<>(t, 0, "k", "" + i));
        }
        var all = readAll(t);
        want(all.size() == n, "%d of %d", all.size(), n);
        for (int i = 0; i < n; i++) want(all.get(i).value().equals("" + i), "offset %d has %s", i, all.get(i).value());
        var state = admin.describeProducers(List.of(new TopicPartition(t, 0))).all().get().get(new TopicPartition(t, 0)).activeProducers();
        want(state.size() == 1 && state.get(0).producerId() >= 0, "producers %s", state);
        return n + " records in order";
    }

    static final class Member extends Thread {
        final KafkaConsumer<String, String> c;
        final String topic;
        final Set<TopicPartition> assigned = ConcurrentHashMap.newKeySet();
        final Set<String> seen;
        volatile boolean stop;
        volatile Throwable failed;

        Member(String topic, String group, String protocol, String id, Set<String> seen) {
            this.topic = topic;
            this.seen = seen;
            c = consumer("group.id", group, "group.protocol", protocol, "client.id", id);
            start();
        }

        public void run() {
            try (c) {
                c.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                    public void onPartitionsRevoked(Collection<TopicPartition> p) { assigned.removeAll(p); }
                    public void onPartitionsAssigned(Collection<TopicPartition> p) { assigned.addAll(p); }
                });
                while (!stop) {
                    for (var r : c.poll(Duration.ofMillis(100))) seen.add(r.partition() + "/" + r.offset());
                    if (!assigned.isEmpty()) c.commitSync();
                }
            } catch (RebalanceInProgressException | CommitFailedException e) {
                failed = e;
            } catch (Throwable t) {
                failed = t;
            }
        }
    }

    static void await(String what, Callable<Boolean> ok) throws Exception {
        long deadline = System.nanoTime() + 40_000_000_000L;
        while (!ok.call()) {
            want(System.nanoTime() < deadline, "40 s waiting for: %s", what);
            Thread.sleep(50);
        }
    }

    static String group(String protocol) throws Exception {
        String t = topic("group-" + protocol, 4), g = t + "-g";
        produce(t, 4, 0, 1000);
        Set<String> seen = ConcurrentHashMap.newKeySet();
        Member a = new Member(t, g, protocol, "a", seen), b = null;
        try {
            await("one member has all four", () -> a.assigned.size() == 4 && a.failed == null);
            Member b2 = b = new Member(t, g, protocol, "b", seen);
            await("two members have two each", () -> a.assigned.size() == 2 && b2.assigned.size() == 2);
            want(Collections.disjoint(a.assigned, b2.assigned), "they share");
            var d = admin.describeConsumerGroups(List.of(g)).describedGroups().get(g).get();
            want(d.members().size() == 2 && d.type() == (protocol.equals("classic") ? GroupType.CLASSIC : GroupType.CONSUMER), "described as %s", d);
            produce(t, 4, 1000, 1000);
            await("all records seen", () -> seen.size() == 2000);
            b.stop = true;
            b.join();
            await("the one left has all four", () -> a.assigned.size() == 4);
            produce(t, 4, 2000, 1000);
            await("all records seen by the one left", () -> seen.size() == 3000);
        } finally {
            a.stop = true;
            a.join();
            if (b != null) { b.stop = true; b.join(); }
        }
        want(a.failed == null && b.failed == null, "members failed: %s, %s", a.failed, b.failed);
        lastGroup = g;
        lastTopic = t;
        return null;
    }

    static String lastGroup, lastTopic;

    static void produce(String t, int partitions, int from, int n) throws Exception {
        try (KafkaProducer<String, String> p = producer()) {
            for (int i = from; i < from + n; i++) p.send(new ProducerRecord<>(t, i % partitions, "k" + i, "v" + i));
        }
    }

    /** What the groups before committed is there, for a new member and for the admin, and goes on being kept. */
    static String committed() throws Exception {
        want(lastGroup != null, "no group before");
        var offsets = admin.listConsumerGroupOffsets(lastGroup).partitionsToOffsetAndMetadata().get();
        want(offsets.size() == 4 && offsets.values().stream().mapToLong(OffsetAndMetadata::offset).sum() == 3000, "committed %s", offsets);
        produce(lastTopic, 4, 3000, 8);
        try (KafkaConsumer<String, String> c = consumer("group.id", lastGroup)) {
            c.subscribe(List.of(lastTopic));
            int n = 0;
            for (int i = 0; i < 100 && n < 8; i++) for (var r : c.poll(Duration.ofMillis(200))) {
                want(Integer.parseInt(r.value().substring(1)) >= 3000, "an old record again: %s", r.value());
                n++;
            }
            want(n == 8, "%d of 8 new records", n);
            c.commitSync(Map.of(new TopicPartition(lastTopic, 0), new OffsetAndMetadata(5, Optional.of(0), "note")));
            var o = c.committed(Set.of(new TopicPartition(lastTopic, 0))).get(new TopicPartition(lastTopic, 0));
            want(o.offset() == 5 && o.metadata().equals("note"), "committed %s", o);
        }
        return null;
    }

    static String adminTopics() throws Exception {
        String t = topic("admin", 2);
        var d = admin.describeTopics(List.of(t)).allTopicNames().get().get(t);
        want(d.partitions().size() == 2 && d.partitions().get(0).replicas().size() == 3 && !d.topicId().equals(Uuid.ZERO_UUID), "%s", d);
        want(admin.describeTopics(TopicCollection.ofTopicIds(List.of(d.topicId()))).allTopicIds().get().get(d.topicId()).name().equals(t), "by id");
        want(admin.listTopics().names().get().contains(t), "not listed");
        refused(admin.createTopics(List.of(new NewTopic(t, 1, (short) 1))).all(), TopicExistsException.class);
        refused(admin.createTopics(List.of(new NewTopic("bad name", 1, (short) 1))).all(), InvalidTopicException.class);
        refused(admin.createTopics(List.of(new NewTopic(t + "x", 1, (short) 9))).all(), InvalidReplicationFactorException.class);
        admin.createTopics(List.of(new NewTopic(t + "v", 1, (short) 3)), new CreateTopicsOptions().validateOnly(true)).all().get();
        admin.deleteTopics(List.of(t)).all().get();
        await("the topic is gone", () -> !admin.listTopics().names().get().contains(t));
        refused(admin.describeTopics(List.of(t)).allTopicNames(), UnknownTopicOrPartitionException.class);
        refused(admin.deleteTopics(List.of(t)).all(), UnknownTopicOrPartitionException.class);
        return null;
    }

    static void refused(KafkaFuture<?> f, Class<? extends Throwable> with) throws Exception {
        try {
            f.get();
        } catch (ExecutionException e) {
            want(with.isInstance(e.getCause()), "refused with %s, want %s", e.getCause(), with.getSimpleName());
            return;
        }
        throw new AssertionError("not refused, want " + with.getSimpleName());
    }

    static String adminPartitions() throws Exception {
        String t = topic("partitions", 1);
        admin.createPartitions(Map.of(t, NewPartitions.increaseTo(3))).all().get();
        await("three partitions with leaders", () -> {
            var p = admin.describeTopics(List.of(t)).allTopicNames().get().get(t).partitions();
            return p.size() == 3 && p.stream().allMatch(x -> x.leader() != null && x.isr().size() == 3);
        });
        refused(admin.createPartitions(Map.of(t, NewPartitions.increaseTo(2))).all(), InvalidPartitionsException.class);
        produce(t, 3, 0, 30);
        want(readAll(t).size() == 30, "records");
        return null;
    }

    static String adminConfigs() throws Exception {
        String t = topic("configs", 1);
        var r = new ConfigResource(ConfigResource.Type.TOPIC, t);
        var c = admin.describeConfigs(List.of(r), new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true)).all().get().get(r);
        want(c.get("retention.ms").value().equals("604800000") && c.get("retention.ms").isDefault(), "retention.ms %s", c.get("retention.ms"));
        admin.incrementalAlterConfigs(Map.of(r, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "12345"), AlterConfigOp.OpType.SET), new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND)))).all().get();
        await("retention.ms is set", () -> {
            var n = admin.describeConfigs(List.of(r)).all().get().get(r);
            return n.get("retention.ms").value().equals("12345") && n.get("retention.ms").source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG && n.get("cleanup.policy").value().equals("delete,compact");
        });
        admin.incrementalAlterConfigs(Map.of(r, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", ""), AlterConfigOp.OpType.DELETE)))).all().get();
        await("retention.ms is the default", () -> admin.describeConfigs(List.of(r)).all().get().get(r).get("retention.ms").value().equals("604800000"));
        refused(admin.incrementalAlterConfigs(Map.of(r, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "soon"), AlterConfigOp.OpType.SET)))).all(), InvalidConfigurationException.class);
        var b = new ConfigResource(ConfigResource.Type.BROKER, "1");
        want(!admin.describeConfigs(List.of(b)).all().get().get(b).entries().isEmpty(), "no broker settings");
        want(!admin.listConfigResources(Set.of(ConfigResource.Type.TOPIC), new ListConfigResourcesOptions()).all().get().isEmpty(), "no config resources");
        return null;
    }

    static String adminGroups() throws Exception {
        want(lastGroup != null, "no group before");
        want(admin.listGroups(ListGroupsOptions.forConsumerGroups()).all().get().stream().anyMatch(g -> g.groupId().equals(lastGroup)), "not listed");
        await("the group is empty", () -> admin.describeConsumerGroups(List.of(lastGroup)).all().get().get(lastGroup).groupState() == GroupState.EMPTY);
        TopicPartition tp = new TopicPartition(lastTopic, 1);
        admin.alterConsumerGroupOffsets(lastGroup, Map.of(tp, new OffsetAndMetadata(7))).all().get();
        want(admin.listConsumerGroupOffsets(lastGroup).partitionsToOffsetAndMetadata().get().get(tp).offset() == 7, "offset not altered");
        admin.deleteConsumerGroupOffsets(lastGroup, Set.of(tp)).all().get();
        want(!admin.listConsumerGroupOffsets(lastGroup).partitionsToOffsetAndMetadata().get().containsKey(tp), "offset not deleted");
        try (KafkaConsumer<String, String> c = consumer("group.id", lastGroup, "group.instance.id", "static-1")) {
            c.subscribe(List.of(lastTopic));
            for (int i = 0; i < 50 && c.assignment().isEmpty(); i++) c.poll(Duration.ofMillis(200));
            refused(admin.deleteConsumerGroups(List.of(lastGroup)).all(), GroupNotEmptyException.class);
        } // a static member does not leave
        admin.removeMembersFromConsumerGroup(lastGroup, new RemoveMembersFromConsumerGroupOptions(Set.of(new MemberToRemove("static-1")))).all().get();
        await("the group is empty again", () -> admin.describeConsumerGroups(List.of(lastGroup)).all().get().get(lastGroup).groupState() == GroupState.EMPTY);
        admin.deleteConsumerGroups(List.of(lastGroup)).all().get();
        refused(admin.deleteConsumerGroups(List.of(lastGroup)).all(), GroupIdNotFoundException.class);
        return null;
    }

    static String adminCluster() throws Exception {
        var c = admin.describeCluster(new DescribeClusterOptions().includeAuthorizedOperations(true));
        want(c.nodes().get().size() == 3 && c.controller().get() != null && !c.clusterId().get().isEmpty(), "nodes %s", c.nodes().get());
        var q = admin.describeMetadataQuorum().quorumInfo().get();
        want(q.voters().size() == 3 && q.leaderId() > 0, "quorum %s", q);
        want(admin.describeLogDirs(List.of(1, 2, 3)).allDescriptions().get().values().stream().allMatch(d -> !d.isEmpty()), "log dirs");
        want(admin.describeFeatures().featureMetadata().get().supportedFeatures() != null, "features");
        admin.listTransactions().all().get();
        return null;
    }

    static String deleteRecords() throws Exception {
        String t = topic("deleterecords", 1);
        produce(t, 1, 0, 100);
        TopicPartition tp = new TopicPartition(t, 0);
        want(admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(40))).all() != null, "");
        admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(40))).all().get();
        var r = readAll(t);
        want(r.size() == 60 && r.get(0).offset() == 40, "%d records", r.size());
        refused(admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(1000))).all(), org.apache.kafka.common.errors.OffsetOutOfRangeException.class);
        refused(admin.electLeaders(ElectionType.PREFERRED, Set.of(tp)).all(), ElectionNotNeededException.class);
        return null;
    }

    static String access() throws Exception {
        if (!SECURE) throw new Skip("logins are off");
        String t = topic("acl", 1);
        admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion("bob-" + RUN, new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), "builder"))).all().get();
        want(admin.describeUserScramCredentials().users().get().contains("bob-" + RUN), "bob is not a user");
        Map<String, Object> bob = base("bob-" + RUN, "builder");
        bob.put("max.block.ms", "15000");
        bob.put("acks", "all");
        try (KafkaProducer<String, String> p = new KafkaProducer<>(bob, new StringSerializer(), new StringSerializer())) {
            try {
                p.send(new ProducerRecord<>(t, "k", "v")).get();
                throw new AssertionError("bob may write without being allowed to");
            } catch (ExecutionException e) {
                want(e.getCause() instanceof TopicAuthorizationException, "refused with %s", e.getCause());
            }
            AclBinding allow = new AclBinding(new ResourcePattern(ResourceType.TOPIC, t, PatternType.LITERAL), new AccessControlEntry("User:bob-" + RUN, "*", AclOperation.WRITE, AclPermissionType.ALLOW));
            admin.createAcls(List.of(allow)).all().get();
            want(admin.describeAcls(allow.toFilter()).values().get().size() == 1, "not described");
            await("bob may write", () -> {
                try {
                    p.send(new ProducerRecord<>(t, "k", "v")).get();
                    return true;
                } catch (ExecutionException e) {
                    want(e.getCause() instanceof TopicAuthorizationException, "refused with %s", e.getCause());
                    return false;
                }
            });
            want(admin.deleteAcls(List.of(allow.toFilter())).all().get().size() == 1, "not deleted");
        }
        return null;
    }

    static String loginRight() throws Exception {
        if (!SECURE) throw new Skip("logins are off");
        for (String mechanism : List.of("SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN")) {
            Map<String, Object> m = base();
            m.put("sasl.mechanism", mechanism);
            if (mechanism.equals("PLAIN")) m.put("sasl.jaas.config", ((String) m.get("sasl.jaas.config")).replace("scram.ScramLoginModule", "plain.PlainLoginModule"));
            try (Admin a = Admin.create(m)) {
                want(a.describeCluster().nodes().get().size() == 3, "%s", mechanism);
            }
        }
        return "SCRAM-SHA-256, SCRAM-SHA-512, PLAIN";
    }

    static String loginWrong() throws Exception {
        if (!SECURE) throw new Skip("logins are off");
        for (String mechanism : List.of("SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN")) {
            Map<String, Object> m = base(System.getenv("SASL_USER"), "wrong");
            m.put("sasl.mechanism", mechanism);
            if (mechanism.equals("PLAIN")) m.put("sasl.jaas.config", ((String) m.get("sasl.jaas.config")).replace("scram.ScramLoginModule", "plain.PlainLoginModule"));
            try (Admin a = Admin.create(m)) {
                refused(a.describeCluster().nodes(), SaslAuthenticationException.class);
            }
        }
        Map<String, Object> m = base(); // TLS without trust
        m.remove("ssl.truststore.type");
        m.remove("ssl.truststore.location");
        try (Admin a = Admin.create(m)) {
            refused(a.describeCluster().nodes(), SslAuthenticationException.class);
        }
        return "SaslAuthenticationException, SslAuthenticationException";
    }

    static void ctl(String what, int node) throws Exception {
        int rc = new ProcessBuilder(System.getenv("CTL"), what, "" + node).redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start().waitFor();
        want(rc == 0, "%s %d: exit %d", what, node, rc);
    }

    static String leaderCrash() throws Exception {
        String t = topic("crash", 1);
        int n = 20_000;
        int leader = admin.describeTopics(List.of(t)).allTopicNames().get().get(t).partitions().get(0).leader().id();
        AtomicInteger acked = new AtomicInteger(), failed = new AtomicInteger();
        Set<String> ok = ConcurrentHashMap.newKeySet();
        try (KafkaProducer<String, String> p = producer("batch.size", "4000", "delivery.timeout.ms", "60000", "request.timeout.ms", "10000")) {
            for (int i = 0; i < n; i++) {
                String v = "" + i;
                p.send(new ProducerRecord<>(t, 0, "k", v), (md, e) -> {
                    if (e == null) { acked.incrementAndGet(); ok.add(v); } else { failed.incrementAndGet(); System.err.println(e); }
                });
                if (i == n / 3) { while (acked.get() < n / 10) Thread.sleep(1); ctl("kill", leader); }
            }
        }
        var all = readAll(t);
        ctl("start", leader);
        await("the restarted node is in sync", () -> admin.describeTopics(List.of(t)).allTopicNames().get().get(t).partitions().get(0).isr().size() == 3);
        Set<String> got = new HashSet<>();
        int twice = 0, previous = -1;
        for (var r : all) {
            if (!got.add(r.value())) twice++;
            want(Integer.parseInt(r.value()) > previous, "out of order at %d", r.offset());
            previous = Integer.parseInt(r.value());
        }
        want(got.containsAll(ok), "%d acknowledged records missing", ok.size() - (int) ok.stream().filter(got::contains).count());
        want(twice == 0 && failed.get() == 0, "%d twice, %d failed", twice, failed.get());
        return n + " acknowledged, none missing, none twice, in order";
    }

    static String transactions() throws Exception {
        throw new Skip("the broker serves no transactions yet");
    }

    public static void main(String[] args) throws Exception {
        System.out.println("VERSION\t" + org.apache.kafka.common.utils.internals.AppInfoParser.getVersion());
        admin = Admin.create(base());
        for (String c : List.of("none", "gzip", "snappy", "lz4", "zstd")) check("codec-" + c, () -> codec(c));
        check("headers", Foreign::headers);
        check("tombstones", Foreign::tombstones);
        check("timestamps", Foreign::timestamps);
        check("idempotent", Foreign::idempotent);
        check("group-kip848", () -> group("consumer"));
        check("group-classic", () -> group("classic"));
        check("committed", Foreign::committed);
        check("metadata-all", () -> admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get().size() + " topics");
        check("admin-topics", Foreign::adminTopics);
        check("admin-partitions", Foreign::adminPartitions);
        check("admin-configs", Foreign::adminConfigs);
        check("admin-groups", Foreign::adminGroups);
        check("admin-cluster", Foreign::adminCluster);
        check("admin-records", Foreign::deleteRecords);
        check("admin-access", Foreign::access);
        check("login-right", Foreign::loginRight);
        check("login-wrong", Foreign::loginWrong);
        check("leader-crash", Foreign::leaderCrash);
        check("transactions", Foreign::transactions);
        admin.close();
    }
}
