// What an application does with amqp091-go. go run . HOST:PORT
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func check(err error, what string) {
	if err != nil {
		fail(what + ": " + err.Error())
	}
}

func fail(what string) {
	fmt.Fprintln(os.Stderr, what)
	os.Exit(1)
}

func open(connection *amqp.Connection) *amqp.Channel {
	channel, err := connection.Channel()
	check(err, "channel")
	return channel
}

const messages = 500

// Publishes with confirms that are not waited for one by one, and consumes with acks of several.
func confirms(connection *amqp.Connection) {
	channel := open(connection)
	queue, err := channel.QueueDeclare("", true, true, false, false, nil)
	check(err, "declare")
	check(channel.Confirm(false), "confirm")
	var confirms []*amqp.DeferredConfirmation
	for number := 0; number < messages; number++ {
		confirm, err := channel.PublishWithDeferredConfirm("", queue.Name, true, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent,
			Headers:      amqp.Table{"number": int64(number), "nested": amqp.Table{"list": []interface{}{true, "x", 1.5}}},
			Body:         []byte(fmt.Sprint(number)),
		})
		check(err, "publish")
		confirms = append(confirms, confirm)
	}
	for number, confirm := range confirms {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		acked, err := confirm.WaitContext(ctx)
		cancel()
		check(err, "confirm")
		if !acked {
			fail(fmt.Sprintf("%d was nacked", number))
		}
	}
	check(channel.Qos(50, 0, false), "qos")
	deliveries, err := channel.Consume(queue.Name, "go", false, false, false, false, nil)
	check(err, "consume")
	for number := 0; number < messages; number++ {
		select {
		case delivery := <-deliveries:
			if string(delivery.Body) != fmt.Sprint(number) || delivery.Headers["number"] != int64(number) {
				fail(fmt.Sprintf("%d is %s, %v", number, delivery.Body, delivery.Headers))
			}
			if number%10 == 9 {
				check(delivery.Ack(true), "ack")
			}
		case <-time.After(10 * time.Second):
			fail(fmt.Sprintf("%d does not come", number))
		}
	}
	check(channel.Cancel("go", false), "cancel")
	again := open(connection)
	left, err := again.QueueDeclarePassive(queue.Name, true, true, false, false, nil)
	if err == nil {
		fail(fmt.Sprintf("an auto-delete queue outlives its consumer: %v", left))
	}
}

// What is not confirmed is returned first.
func returns(connection *amqp.Connection) {
	channel := open(connection)
	check(channel.Confirm(false), "confirm")
	returned := channel.NotifyReturn(make(chan amqp.Return, 1))
	confirm, err := channel.PublishWithDeferredConfirm("amq.direct", "nobody", true, false, amqp.Publishing{Body: []byte("m")})
	check(err, "publish")
	if !confirm.Wait() {
		fail("a returned message is confirmed all the same")
	}
	select {
	case back := <-returned:
		if back.ReplyCode != 312 || string(back.Body) != "m" {
			fail(fmt.Sprintf("%v", back))
		}
	default:
		fail("it was confirmed before it came back")
	}
}

func refusals(connection *amqp.Connection) {
	channel := open(connection)
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	_, err := channel.QueueDeclarePassive("never.there", false, false, false, false, nil)
	var refused *amqp.Error
	if !errors.As(err, &refused) || refused.Code != 404 || refused.Reason != "NOT_FOUND - no queue 'never.there' in vhost '/'" {
		fail(fmt.Sprintf("%v", err))
	}
	if (<-closed).Code != 404 {
		fail("the channel closes with the reason")
	}
	_, _, err = open(connection).Get("never.there", true)
	check2(err, 404)
	check2(open(connection).ExchangeDeclare("amq.topic", "direct", true, false, false, false, nil), 406)
}

func check2(err error, code int) {
	var refused *amqp.Error
	if !errors.As(err, &refused) || refused.Code != code {
		fail(fmt.Sprintf("%v, and not %d", err, code))
	}
}

func main() {
	connection, err := amqp.Dial("amqp://guest:guest@" + os.Args[1] + "/")
	check(err, "dial")
	steps := []struct {
		name string
		run  func(*amqp.Connection)
	}{{"confirms", confirms}, {"returns", returns}, {"refusals", refusals}}
	for _, step := range steps {
		step.run(connection)
		fmt.Println("ok", step.name)
	}
	check(connection.Close(), "close")
}
