import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.kstream.*;

/**
 * Kafka Streams counts words exactly once (EOSv2) over a broker at args[0], in two lives: the second one has lost
 * its local state, and restores it from the compacted changelog.
 */
public class WordCount {
    static final String IN = "words-in", OUT = "words-out", APP = "word-count";

    public static void main(String[] args) throws Exception {
        String broker = args[0];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker))) {
            admin.createTopics(List.of(new NewTopic(IN, 3, (short) 1), new NewTopic(OUT, 1, (short) 1))).all().get(30, TimeUnit.SECONDS);
            Map<String, Long> expected = new TreeMap<>();
            for (int life = 0; life < 2; life++) {
                write(broker, expected, life);
                count(broker, life, expected);
            }
            Set<String> topics = admin.listTopics().names().get(30, TimeUnit.SECONDS);
            String changelog = topics.stream().filter(name -> name.endsWith("-changelog")).findFirst().orElseThrow();
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, changelog);
            String policy = admin.describeConfigs(List.of(resource)).all().get(30, TimeUnit.SECONDS).get(resource).get("cleanup.policy").value();
            if (!policy.equals("compact")) throw new AssertionError(changelog + " has cleanup.policy " + policy);
            ConfigEntry lag = new ConfigEntry("min.compaction.lag.ms", "1000");
            admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(lag, AlterConfigOp.OpType.SET)))).all().get(30, TimeUnit.SECONDS);
            System.out.println("PASS " + expected.size() + " words, " + expected.values().stream().mapToLong(it -> it).sum() + " in all");
        }
    }

    static void write(String broker, Map<String, Long> expected, int life) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", broker, "key.serializer", StringSerializer.class, "value.serializer", StringSerializer.class);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(config)) {
            for (int line = 0; line < 500; line++) {
                String text = "w" + line % 7 + " w" + line % 11 + " life" + life;
                for (String word : text.split(" ")) expected.merge(word, 1L, Long::sum);
                producer.send(new ProducerRecord<>(IN, "line" + line, text));
            }
            producer.flush();
        }
    }

    static void count(String broker, int life, Map<String, Long> expected) throws Exception {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(IN, Consumed.with(Serdes.String(), Serdes.String()))
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with(Serdes.String(), Serdes.String()))
            .count(Materialized.as("counts"))
            .toStream().to(OUT, Produced.with(Serdes.String(), Serdes.Long()));
        Properties config = new Properties();
        config.put("application.id", APP);
        config.put("bootstrap.servers", broker);
        config.put("processing.guarantee", "exactly_once_v2");
        config.put("commit.interval.ms", "100");
        config.put("replication.factor", "1");
        // The first life does not leave the group: the second one waits for as long.
        config.put("session.timeout.ms", "6000");
        config.put("heartbeat.interval.ms", "1000");
        // Each life has a folder of its own: the second one restores from the changelog.
        config.put("state.dir", System.getProperty("java.io.tmpdir") + "/word-count-" + ProcessHandle.current().pid() + "-" + life);
        try (KafkaStreams streams = new KafkaStreams(builder.build(), config)) {
            CountDownLatch failed = new CountDownLatch(1);
            streams.setUncaughtExceptionHandler(error -> {
                error.printStackTrace();
                failed.countDown();
                return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
            streams.cleanUp();
            streams.start();
            await(broker, expected, failed);
        }
    }

    static void await(String broker, Map<String, Long> expected, CountDownLatch failed) throws Exception {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", broker, "isolation.level", "read_committed", "auto.offset.reset", "earliest",
            "key.deserializer", StringDeserializer.class, "value.deserializer", LongDeserializer.class);
        Map<String, Long> counts = new TreeMap<>();
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(90);
        try (KafkaConsumer<String, Long> consumer = new KafkaConsumer<>(config)) {
            TopicPartition partition = new TopicPartition(OUT, 0);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            while (!counts.equals(expected)) {
                if (failed.getCount() == 0) throw new AssertionError("the application failed");
                if (System.nanoTime() > until) throw new AssertionError("counted " + counts + ", not " + expected);
                for (ConsumerRecord<String, Long> record : consumer.poll(java.time.Duration.ofMillis(200))) {
                    Long before = counts.put(record.key(), record.value());
                    if (before != null && record.value() < before)
                        throw new AssertionError(record.key() + " goes back from " + before + " to " + record.value());
                }
            }
        }
    }
}
