// What an application does with RabbitMQ's client for Java. java -cp ... Smoke.java HOST:PORT

import com.rabbitmq.client.*;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.*;

public class Smoke {
    static final int MESSAGES = 500;

    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    static byte[] bytes(Object value) {
        return value.toString().getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    interface Call {
        void run() throws Exception;
    }

    /** The call ends its channel with this code and a text that contains that. */
    static void refused(int code, String text, Call call) throws Exception {
        try {
            call.run();
        } catch (IOException | AlreadyClosedException error) {
            Throwable cause = error instanceof IOException ? error.getCause() : error;
            Method reason = (Method) ((ShutdownSignalException) cause).getReason();
            AMQP.Channel.Close close = (AMQP.Channel.Close) reason;
            check(close.getReplyCode() == code, "code " + close);
            check(close.getReplyText().contains(text), "text " + close);
            return;
        }
        throw new AssertionError("not refused: " + text);
    }

    /** Publishes with confirms that are not waited for one by one; consumes with acks of several. */
    static void confirms(Connection connection) throws Exception {
        Channel channel = connection.createChannel();
        channel.confirmSelect();
        String queue = channel.queueDeclare("", true, true, false, Map.of("x-queue-type", "classic")).getQueue();
        Map<String, Object> headers = new HashMap<>();
        headers.put("nested", Map.of("list", List.of(true, "x", 1.5, 7L)));
        AMQP.BasicProperties properties = MessageProperties.PERSISTENT_TEXT_PLAIN.builder().headers(headers)
            .timestamp(new Date(1_700_000_000_000L)).build();
        for (int number = 0; number < MESSAGES; number++) channel.basicPublish("", queue, true, properties, bytes(number));
        channel.waitForConfirmsOrDie(20_000);
        channel.basicQos(50);
        BlockingQueue<Delivery> deliveries = new LinkedBlockingQueue<>();
        String tag = channel.basicConsume(queue, false, (consumer, delivery) -> deliveries.add(delivery), consumer -> {});
        for (int number = 0; number < MESSAGES; number++) {
            Delivery delivery = deliveries.poll(10, TimeUnit.SECONDS);
            check(delivery != null, number + " does not come");
            check(text(delivery.getBody()).equals("" + number), "order");
            Map<?, ?> nested = (Map<?, ?>) delivery.getProperties().getHeaders().get("nested");
            check(nested.get("list").toString().equals("[true, x, 1.5, 7]"), "headers " + nested);
            check(delivery.getProperties().getTimestamp().getTime() == 1_700_000_000_000L, "timestamp");
            if (number % 10 == 9) channel.basicAck(delivery.getEnvelope().getDeliveryTag(), true);
        }
        channel.basicCancel(tag);
        check(channel.messageCount(queue) == 0, "all are acked");
        channel.close();
    }

    static void refusals(Connection connection) throws Exception {
        String name = "java." + UUID.randomUUID();
        Channel owner = connection.createChannel();
        owner.queueDeclare(name, true, false, false, null);
        refused(406, "inequivalent arg 'durable' for queue '" + name + "' in vhost '/': received 'false' but current is 'true'",
            () -> connection.createChannel().queueDeclare(name, false, false, false, null));
        refused(404, "no queue 'none." + name + "' in vhost '/'",
            () -> connection.createChannel().queueDeclarePassive("none." + name));
        refused(403, "queue name 'amq.own' contains reserved prefix 'amq.*'",
            () -> connection.createChannel().queueDeclare("amq.own", true, false, false, null));
        Channel publishing = connection.createChannel();
        CountDownLatch closed = new CountDownLatch(1);
        publishing.addShutdownListener(cause -> closed.countDown());
        publishing.basicPublish("none." + name, "", null, bytes("lost"));
        check(closed.await(10, TimeUnit.SECONDS), "an unknown exchange closes the channel");
        refused(404, "no exchange 'none." + name + "' in vhost '/'", () -> publishing.basicQos(1));
        Channel acking = connection.createChannel();
        CountDownLatch failed = new CountDownLatch(1);
        acking.addShutdownListener(cause -> failed.countDown());
        acking.basicAck(17, false);
        check(failed.await(10, TimeUnit.SECONDS), "an unknown tag closes the channel");
        refused(406, "unknown delivery tag 17", () -> acking.basicQos(1));
        owner.queueDelete(name);
    }

    /** What is mandatory comes back before its confirm. */
    static void returns(Connection connection) throws Exception {
        Channel channel = connection.createChannel();
        channel.confirmSelect();
        List<String> heard = Collections.synchronizedList(new ArrayList<>());
        channel.addReturnListener(returned -> heard.add("return " + returned.getReplyCode() + " " + returned.getReplyText()));
        channel.addConfirmListener((tag, multiple) -> heard.add("ack"), (tag, multiple) -> heard.add("nack"));
        channel.basicPublish("amq.direct", "nobody." + UUID.randomUUID(), true, null, bytes("m"));
        channel.waitForConfirmsOrDie(10_000);
        for (int tries = 0; heard.size() < 2 && tries < 1000; tries++) Thread.sleep(10);
        check(heard.equals(List.of("return 312 NO_ROUTE", "ack")), heard.toString());
        channel.close();
    }

    static void transactions(Connection connection) throws Exception {
        Channel channel = connection.createChannel();
        String in = channel.queueDeclare().getQueue(), out = channel.queueDeclare().getQueue();
        channel.basicPublish("", in, null, bytes("m"));
        channel.txSelect();
        GetResponse got = channel.basicGet(in, false);
        channel.basicPublish("", out, null, bytes("1"));
        channel.basicAck(got.getEnvelope().getDeliveryTag(), false);
        channel.txRollback();
        check(channel.messageCount(out) == 0, "nothing was published");
        channel.basicPublish("", out, null, bytes("2"));
        channel.basicAck(got.getEnvelope().getDeliveryTag(), false);
        channel.txCommit();
        check(channel.messageCount(out) == 1 && channel.messageCount(in) == 0, "both came to be");
        check(text(channel.basicGet(out, true).getBody()).equals("2"), "what was committed");
        refused(406, "cannot switch from tx to confirm mode", channel::confirmSelect);
    }

    /** Requests and answers, over direct reply-to. */
    static void replies(Connection connection) throws Exception {
        Channel server = connection.createChannel(), client = connection.createChannel();
        String queue = server.queueDeclare().getQueue();
        server.basicConsume(queue, true, (tag, request) -> server.basicPublish("", request.getProperties().getReplyTo(),
            new AMQP.BasicProperties.Builder().correlationId(request.getProperties().getCorrelationId()).build(),
            bytes(text(request.getBody()) + "!")), tag -> {});
        RpcClient rpc = new RpcClient(new RpcClientParams().channel(client).exchange("").routingKey(queue).timeout(10_000));
        for (int number = 0; number < 20; number++) check(rpc.stringCall("q" + number).equals("q" + number + "!"), "answer");
        rpc.close();
        server.close();
    }

    /** Dead letters tell where they come from. */
    static void letters(Connection connection) throws Exception {
        Channel channel = connection.createChannel();
        String dead = channel.queueDeclare().getQueue();
        Map<String, Object> arguments = Map.of("x-dead-letter-exchange", "", "x-dead-letter-routing-key", dead,
            "x-message-ttl", 50);
        String queue = channel.queueDeclare("", false, true, true, arguments).getQueue();
        channel.basicPublish("", queue, null, bytes("expires"));
        GetResponse letter = null;
        for (int tries = 0; letter == null && tries < 1000; tries++) {
            letter = channel.basicGet(dead, true);
            Thread.sleep(10);
        }
        check(letter != null, "it comes");
        Map<?, ?> death = (Map<?, ?>) ((List<?>) letter.getProps().getHeaders().get("x-death")).get(0);
        check(death.get("reason").toString().equals("expired") && death.get("queue").toString().equals(queue)
            && death.get("count").equals(1L), death.toString());
        channel.close();
    }

    /** A consumer hears that its queue is deleted. */
    static void cancels(Connection connection) throws Exception {
        Channel channel = connection.createChannel();
        String queue = channel.queueDeclare().getQueue();
        CountDownLatch cancelled = new CountDownLatch(1);
        channel.basicConsume(queue, true, (tag, delivery) -> {}, tag -> cancelled.countDown());
        connection.createChannel().queueDelete(queue);
        check(cancelled.await(10, TimeUnit.SECONDS), "the consumer is told");
        channel.close();
    }

    public static void main(String[] arguments) throws Exception {
        String[] address = arguments[0].split(":");
        ConnectionFactory factory = new ConnectionFactory();
        factory.setHost(address[0]);
        factory.setPort(Integer.parseInt(address[1]));
        factory.setRequestedHeartbeat(5);
        try (Connection connection = factory.newConnection("smoke")) {
            check(connection.getServerProperties().get("version") != null, "a version");
            confirms(connection);
            refusals(connection);
            returns(connection);
            transactions(connection);
            replies(connection);
            letters(connection);
            cancels(connection);
        }
        factory.setPassword("wrong");
        try {
            factory.newConnection();
            throw new AssertionError("let in");
        } catch (AuthenticationFailureException refused) {
            check(refused.getMessage().contains("ACCESS_REFUSED"), refused.getMessage());
        }
        System.out.println("ok");
    }
}
