package pipeline

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/go-redis/v9"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/pipeline/streams"
)

// Shares decides by which lane a project's messages travel. While the live
// lane of a topic has a backlog, whoever put in more than an equal share lately
// goes on by bulk, so that no one's flood delays the others.
type Shares struct {
	client  redis.UniversalClient
	backlog int64
	topics  map[string]*intake
	// hurry asks for a look at the backlogs before its time.
	hurry chan struct{}
}

// NewShares makes the judge of all topics, with the number of each one's shards;
// Watch keeps it.
func NewShares(client redis.UniversalClient, c StreamsConfig, shards map[string]int) *Shares {
	s := &Shares{client: client, backlog: int64(c.LaneBacklog), topics: map[string]*intake{}, hurry: make(chan struct{}, 1)}
	for _, reader := range Stages(Sources{}, Handlers{}, Config{}) {
		if reader.Reads != "" {
			in := newIntake(Group(reader.Name))
			for lane := range in.keys {
				in.keys[lane] = streams.Keys(c.Prefix, reader.Reads, shards[reader.Reads], streams.Lane(lane))
			}
			s.topics[reader.Reads] = in
		}
	}
	return s
}

// lookEvery is how often the backlogs are read; in a hurry no sooner than
// lookAgain.
const (
	lookEvery = time.Second
	lookAgain = 50 * time.Millisecond
)

// Watch reads the backlogs once a second, and whenever this process has added
// as much to a live lane as makes a backlog; and it forgets what was put in
// long ago; until ctx ends.
func (s *Shares) Watch(ctx context.Context) {
	for ctx.Err() == nil {
		for _, in := range s.topics {
			in.forget(time.Now())
			s.look(ctx, in)
		}
		pause(ctx, lookAgain)
		pauseUnless(ctx, s.hurry, lookEvery-lookAgain)
	}
}

// look reads one topic's backlog. It is there once the live lane has one, and
// until bulk has none either: what a flood went by is worked off before it goes
// by live again. While Redis does not tell, the last reading stands.
func (s *Shares) look(ctx context.Context, in *intake) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	in.added.Store(0)
	live, err := streams.LaneLag(ctx, s.client, in.keys[streams.Live], in.group)
	if err != nil {
		return
	}
	backlogged := live.Lag > s.backlog
	if !backlogged && in.backlogged.Load() {
		bulk, err := streams.LaneLag(ctx, s.client, in.keys[streams.Bulk], in.group)
		backlogged = err != nil || bulk.Lag > s.backlog
	}
	in.backlogged.Store(backlogged)
}

// setLane judges by which lane a message goes. What is bulk already stays so,
// and does not count: a replay is not to make its project's live events wait.
func (s *Shares) setLane(msg *message.Message) {
	a := addressOf(msg)
	if a == nil || s.topics[a.topic] == nil || streams.LaneOf(msg) == streams.Bulk {
		return
	}
	in := s.topics[a.topic]
	if put := in.add(a.project); put.lane(in.backlogged.Load()) == streams.Bulk {
		streams.SetLane(msg, streams.Bulk)
		return
	}
	if in.added.Add(1) == s.backlog {
		select {
		case s.hurry <- struct{}{}:
		default: // there is a hurry already
		}
	}
}

// intake is what was put into one topic lately, by project.
type intake struct {
	keys       [2][]string // of its lanes
	group      string      // of its reader
	backlogged atomic.Bool
	added      atomic.Int64 // to the live lane since the last look

	mu          sync.Mutex
	began       time.Time // of the current window
	now, before window
	joined      int // projects of now that before does not know
}

// window counts messages by project.
type window struct {
	by  map[millrace.ID]int
	sum int
}

// windowLength is how long messages are counted together: the intake is that of
// one to two of these.
const windowLength = 10 * time.Second

func newIntake(group string) *intake {
	return &intake{group: group, began: time.Now(), now: window{by: map[millrace.ID]int{}}}
}

// add counts a message.
func (in *intake) add(project millrace.ID) put {
	in.mu.Lock()
	defer in.mu.Unlock()
	now, before := in.now.by[project]+1, in.before.by[project]
	in.now.by[project] = now
	in.now.sum++
	if now == 1 && before == 0 {
		in.joined++
	}
	return put{own: now + before, all: in.now.sum + in.before.sum, projects: len(in.before.by) + in.joined}
}

// forget begins a new window when it is time to.
func (in *intake) forget(now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	age := now.Sub(in.began)
	if age < windowLength {
		return
	}
	in.before = in.now
	if age >= 2*windowLength {
		in.before = window{}
	}
	in.now, in.began, in.joined = window{by: map[millrace.ID]int{}}, now, 0
}

// put is what one project and all of them put into a topic lately.
type put struct{ own, all, projects int }

// lane is the whole rule: while a topic has a backlog, a project beyond an
// equal share of what was put in goes by bulk. So does one that is alone: others
// may come, and bulk without live is as fast.
func (p put) lane(backlogged bool) streams.Lane {
	if backlogged && (p.projects == 1 || p.own*p.projects > p.all) {
		return streams.Bulk
	}
	return streams.Live
}
