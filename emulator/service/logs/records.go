package logs

import (
	"fmt"
	"hash/fnv"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// Streams are keyed by group, a colon (which no name holds) and name; chunks by
// their stream's key, a colon and their number; filters by group, a colon and name.
const (
	groups        store.Table[group]              = "logs-groups"
	streams       store.Table[stream]             = "logs-streams"
	chunks        store.Table[chunk]              = "logs-chunks"
	metricFilters store.Table[metricFilter]       = "logs-metric-filters"
	subscriptions store.Table[subscriptionFilter] = "logs-subscription-filters"
	policies      store.Table[resourcePolicy]     = "logs-resource-policies"
)

type group struct {
	Scope     awsid.Scope
	Name      string
	Created   int64
	Class     types.LogGroupClass
	KMSKey    string
	Retention int32 // days; 0 keeps events for good
	Protected bool
	Tags      map[string]string
}

func (g *group) arn() string { return groupARN(g.Scope, g.Name) }

func groupARN(sc awsid.Scope, name string) string { return sc.ARN("logs", "log-group:"+name) }

type stream struct {
	Group, Name           string
	Created               int64
	First, Last, Ingested int64 // 0 while it has no events
	// Stored is what its events count for: their bytes and 26 for each.
	Stored int64
	// Oldest and Next are the numbers of its first chunk and of the next to come.
	Oldest, Next int64
	// Events is how many there ever were: the next one's number.
	Events int64
}

func (s *stream) key() string { return streamKey(s.Group, s.Name) }

func streamKey(group, name string) string { return group + ":" + name }

func chunkKey(stream string, n int64) string { return fmt.Sprintf("%s:%016x", stream, n) }

func filterKey(group, name string) string { return group + ":" + name }

// chunk is some events of a stream that came one after the other.
type chunk struct {
	Number      int64
	First, Last int64 // the least and greatest timestamp
	Count       int
	Bytes       int64
	// Data is a JSON list of events, compressed.
	Data []byte
}

// event is one log event.
type event struct {
	Time     int64  `json:"t"`
	Ingested int64  `json:"i"`
	Number   int64  `json:"n"`
	Message  string `json:"m"`
}

// overhead is what an event counts for besides its bytes.
const overhead = 26

func (e *event) size() int64 { return int64(len(e.Message)) + overhead }

// id is the event's own among all of a group, and sorts them: by time, then stream,
// then arrival. It has the 56 digits of CloudWatch's.
func (e *event) id(stream uint64) string {
	return fmt.Sprintf("3%013d%012d%030d", e.Time, stream, e.Number)
}

// streamNumber stands for a stream in its events' ids.
func streamNumber(key string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	return h.Sum64() % 1_000_000_000_000
}

type metricFilter struct {
	Group           string
	Filter          types.MetricFilter
	Transformations []types.MetricTransformation
}

type subscriptionFilter struct {
	Group  string
	Filter types.SubscriptionFilter
}

type resourcePolicy struct{ Policy types.ResourcePolicy }
