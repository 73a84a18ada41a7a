package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

// options reads the URL into go-redis' universal options.
func (c RedisConfig) options() (*redis.UniversalOptions, error) {
	u, err := url.Parse(c.URL.Reveal())
	if err != nil {
		return nil, errors.New("redis.url is no URL") // the error would show the password
	}
	o := &redis.UniversalOptions{
		MasterName: c.SentinelMaster, SentinelPassword: c.SentinelPassword.Reveal(), PoolSize: c.Pool,
		DialTimeout: 2 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, ContextTimeoutEnabled: true,
	}
	o.Username = u.User.Username()
	o.Password, _ = u.User.Password()
	if u.Scheme == "rediss" {
		if o.TLSConfig, err = c.tls(); err != nil {
			return nil, err
		}
	}
	if u.Scheme == "unix" {
		o.Addrs = []string{u.Path}
		return o, nil
	}
	for _, host := range strings.Split(u.Host, ",") {
		o.Addrs = append(o.Addrs, withPort(host))
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if o.DB, err = strconv.Atoi(db); err != nil {
			return nil, fmt.Errorf("redis.url: %q is no database number", db)
		}
	}
	if o.DB != 0 && o.MasterName == "" && len(o.Addrs) > 1 {
		return nil, fmt.Errorf("redis.url: several hosts are a Redis Cluster, and that has no database %d, only 0", o.DB)
	}
	return o, nil
}

// tls trusts the authorities of redis.ca_file, or else the system's.
func (c RedisConfig) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("redis.ca_file: %w", err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("redis.ca_file: there is no certificate in %s", c.CAFile)
	}
	return t, nil
}

// withPort adds Redis' port where an address names none.
func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), "6379")
}

// openRedis connects and refuses a Redis that may evict what is queued. Of a
// cluster, one master that answers is enough: the others may be back before
// this process is needed.
func openRedis(ctx context.Context, c RedisConfig) (redis.UniversalClient, error) {
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	client := redis.NewUniversalClient(o)
	if err := judgeRedis(ctx, client, o); err != nil {
		_ = client.Close()
		return nil, err
	}
	return client, nil
}

func judgeRedis(ctx context.Context, client redis.UniversalClient, o *redis.UniversalOptions) error {
	if err := pingRedis(ctx, client); err != nil {
		if refuses(err) {
			return fmt.Errorf("redis.url: Redis refuses: %w", err)
		}
		return millrace.Unavailable(fmt.Errorf("redis.url: Redis does not answer at %s: %w", strings.Join(o.Addrs, ","), err))
	}
	if partly(ctx, client) {
		return errors.New("redis.url names one node of a Redis Cluster: name several with commas between them, or this one twice")
	}
	policy, known, err := streams.EvictionPolicy(ctx, client)
	if err == nil && known && policy != "noeviction" {
		return fmt.Errorf("Redis may evict what is queued: its maxmemory-policy is %s; set it to noeviction", policy)
	}
	return nil
}

// pingRedis tells whether Redis answers: of a cluster, any of its masters. What
// is for the others is persisted in line, or waits.
func pingRedis(ctx context.Context, client redis.UniversalClient) error {
	return streams.EachMaster(ctx, client, func(ctx context.Context, master redis.Cmdable) error { return master.Ping(ctx).Err() })
}

// partly tells whether a client knows one node of a cluster only.
func partly(ctx context.Context, client redis.UniversalClient) bool {
	if _, whole := client.(*redis.ClusterClient); whole {
		return false
	}
	info, err := client.Info(ctx, "cluster").Result()
	return err == nil && strings.Contains(info, "cluster_enabled:1")
}

// refuses tells an answer that waiting does not mend, such as a password that
// is wrong, from one of a Redis that is not ready.
func refuses(err error) bool {
	var answer redis.Error
	if !errors.As(err, &answer) {
		return false
	}
	for _, refusal := range []string{
		"WRONGPASS", "NOAUTH", "NOPERM", "ERR DB index", "ERR AUTH", "ERR Client sent AUTH", "ERR This instance has cluster support disabled",
	} {
		if strings.Contains(answer.Error(), refusal) {
			return true
		}
	}
	return false
}

// changes tells every process of changed projects. It is a small broadcast
// for the sake of speed: what it misses is found within a second.
type changes struct {
	topic      string
	client     redis.UniversalClient
	publisher  *redisstream.Publisher
	subscriber *redisstream.Subscriber
	told       chan millrace.ID
}

// changesPatience bounds one broadcast: it is soon worth nothing any more.
const changesPatience = time.Second

func newChanges(c RedisConfig, prefix string) (*changes, error) {
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	o.PoolSize, o.MaxRetries = 2, -1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = changesPatience, changesPatience, changesPatience
	b := &changes{topic: prefix + "config.changed", client: redis.NewUniversalClient(o), told: make(chan millrace.ID, 64)}
	b.publisher, err = redisstream.NewPublisher(redisstream.PublisherConfig{Client: b.client, Maxlens: map[string]int64{b.topic: 1000}}, watermill.NopLogger{})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("broadcast changes: %w", err), b.client.Close())
	}
	b.subscriber, err = redisstream.NewSubscriber(redisstream.SubscriberConfig{Client: b.client}, watermill.NopLogger{})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("hear of changes: %w", err), b.client.Close())
	}
	return b, nil
}

// tell has a changed project broadcast, and waits for nothing: a failure costs
// a second, no more.
func (b *changes) tell(project millrace.ID) {
	select {
	case b.told <- project:
	default: // the look once a second finds it
	}
}

// broadcast sends what was told until ctx ends.
func (b *changes) broadcast(ctx context.Context) {
	for {
		select {
		case project := <-b.told:
			_ = b.publisher.Publish(b.topic, message.NewMessage(watermill.NewUUID(), project[:]))
		case <-ctx.Done():
			return
		}
	}
}

// hear passes on what others changed until ctx ends.
func (b *changes) hear(ctx context.Context, to chan<- millrace.ID) error {
	msgs, err := b.subscriber.Subscribe(ctx, b.topic)
	if err != nil {
		return err
	}
	for msg := range msgs {
		var id millrace.ID
		copy(id[:], msg.Payload)
		select {
		case to <- id:
		case <-ctx.Done():
		}
		msg.Ack()
	}
	return nil
}

// close ends the subscription with its own client, whose blocking read knows
// no context.
func (b *changes) close() {
	_ = b.client.Close()
	_ = b.subscriber.Close() // it closes the client once more, in vain
}
