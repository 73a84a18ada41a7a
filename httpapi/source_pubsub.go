package httpapi

import millrace "github.com/millrace-dev/millrace"

// pubSubIn is a broker's topic, queue or subscription as it is sent.
type pubSubIn struct {
	Type    member[millrace.BrokerKind] `json:"type"`
	Workers member[whole]               `json:"workers"`
	Raw     member[bool]                `json:"raw"`
	Ack     member[millrace.AckLevel]   `json:"ack"`
	Kafka   member[kafkaIn]             `json:"kafka"`
	SQS     member[sqsIn]               `json:"sqs"`
	Google  member[googleIn]            `json:"google"`
	AMQP    member[amqpIn]              `json:"amqp"`
}

type kafkaIn struct {
	Brokers member[[]string]    `json:"brokers"`
	GroupID member[string]      `json:"consumer_group_id"`
	Topic   member[string]      `json:"topic_name"`
	Auth    member[kafkaAuthIn] `json:"auth"`
}

type kafkaAuthIn struct {
	Type     member[string] `json:"type"`
	Hash     member[string] `json:"hash"`
	Username member[string] `json:"username"`
	Password sensitive      `json:"password"`
	TLS      member[bool]   `json:"tls"`
}

type sqsIn struct {
	AccessKeyID member[string] `json:"access_key_id"`
	SecretKey   sensitive      `json:"secret_key"`
	Region      member[string] `json:"default_region"`
	Queue       member[string] `json:"queue_name"`
	Endpoint    member[string] `json:"endpoint"`
}

type googleIn struct {
	ProjectID      member[string] `json:"project_id"`
	SubscriptionID member[string] `json:"subscription_id"`
	ServiceAccount sensitive      `json:"service_account"`
	Endpoint       member[string] `json:"endpoint"`
}

type amqpIn struct {
	Schema             member[string]        `json:"schema"`
	Host               member[string]        `json:"host"`
	Port               member[whole]         `json:"port"`
	Auth               member[amqpAuthIn]    `json:"auth"`
	Queue              member[string]        `json:"queue"`
	VHost              member[string]        `json:"vhost"`
	Bind               member[amqpBindingIn] `json:"bindExchange"`
	DeadLetterExchange member[string]        `json:"deadLetterExchange"`
}

type amqpAuthIn struct {
	User     member[string] `json:"user"`
	Password sensitive      `json:"password"`
}

type amqpBindingIn struct {
	Exchange   member[string] `json:"exchange"`
	RoutingKey member[string] `json:"routingKey"`
}

// into lays what is sent over what is there. What belonged to another broker
// is forgotten.
func (in pubSubIn) into(to **millrace.PubSub) {
	if *to == nil && in.isEmpty() {
		return
	}
	next := orNew(*to)
	if in.Type.given && in.Type.value != next.Kind {
		next = millrace.PubSub{Kind: in.Type.value, Workers: next.Workers, Raw: next.Raw, Ack: next.Ack}
	}
	if in.Workers.given {
		next.Workers = int(in.Workers.value)
	}
	in.Raw.into(&next.Raw)
	in.Ack.into(&next.Ack)
	if in.Kafka.given {
		next.Kafka = in.Kafka.value.over(next.Kafka)
	}
	if in.SQS.given {
		next.SQS = in.SQS.value.over(next.SQS)
	}
	if in.Google.given {
		next.Google = in.Google.value.over(next.Google)
	}
	if in.AMQP.given {
		next.AMQP = in.AMQP.value.over(next.AMQP)
	}
	*to = &next
}

// isEmpty tells whether no broker is named: some clients send the empty shape.
func (in pubSubIn) isEmpty() bool {
	return !in.Type.given && !in.Kafka.given && !in.SQS.given && !in.Google.given && !in.AMQP.given
}

func (in kafkaIn) over(old *millrace.KafkaSource) *millrace.KafkaSource {
	next := orNew(old)
	in.Brokers.into(&next.Brokers)
	in.GroupID.into(&next.GroupID)
	in.Topic.into(&next.Topic)
	if auth := in.Auth.value; in.Auth.given {
		a := orNew(next.Auth)
		auth.Type.into(&a.Type)
		auth.Hash.into(&a.Hash)
		auth.Username.into(&a.Username)
		setSecret(auth.Password, &a.Password)
		auth.TLS.into(&a.TLS)
		next.Auth = &a
	}
	return &next
}

func (in sqsIn) over(old *millrace.SQSSource) *millrace.SQSSource {
	next := orNew(old)
	in.AccessKeyID.into(&next.AccessKeyID)
	setSecret(in.SecretKey, &next.SecretKey)
	in.Region.into(&next.Region)
	in.Queue.into(&next.Queue)
	in.Endpoint.into(&next.Endpoint)
	return &next
}

func (in googleIn) over(old *millrace.GoogleSource) *millrace.GoogleSource {
	next := orNew(old)
	in.ProjectID.into(&next.ProjectID)
	in.SubscriptionID.into(&next.SubscriptionID)
	setSecret(in.ServiceAccount, &next.ServiceAccount)
	in.Endpoint.into(&next.Endpoint)
	return &next
}

func (in amqpIn) over(old *millrace.AMQPSource) *millrace.AMQPSource {
	next := orNew(old)
	in.Schema.into(&next.Schema)
	in.Host.into(&next.Host)
	if in.Port.given {
		next.Port = int(in.Port.value)
	}
	in.Queue.into(&next.Queue)
	in.VHost.into(&next.VHost)
	in.DeadLetterExchange.into(&next.DeadLetterExchange)
	if in.Auth.given {
		a := orNew(next.Auth)
		in.Auth.value.User.into(&a.User)
		setSecret(in.Auth.value.Password, &a.Password)
		next.Auth = &a
	}
	if in.Bind.given {
		b := orNew(next.Bind)
		in.Bind.value.Exchange.into(&b.Exchange)
		in.Bind.value.RoutingKey.into(&b.RoutingKey)
		next.Bind = &b
	}
	return &next
}
