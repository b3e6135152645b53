package main

import (
	"context"
	"log"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

const (
	// maxAnswerAge is how long a kubelet's answer serves further requests.
	maxAnswerAge = 15 * time.Second
	// window bounds the time that a rate covers: a kubelet samples every 10 seconds, an emulated one every 30, both with
	// pauses of up to twice as long.
	window = time.Minute
	// maxSampleAge bounds the age of a kubelet's sample. Samples in the memory of a restored machine are older.
	maxSampleAge = 2 * window
	// maxClockSkew is how far a node's clock may be ahead.
	maxClockSkew = 30 * time.Second
)

type scrape func(ctx context.Context, node *v1.Node) (*stats.Summary, error)

// Samples caches the summaries of kubelets. It scrapes a kubelet at need only: without requests there is no work.
type Samples struct {
	scrape scrape
	now    func() time.Time
	mutex  sync.Mutex
	nodes  map[string]*nodeSamples
}

// nodeSamples is the last answer of a kubelet; nil if the kubelet failed. The mutex is held during a scrape: requests that
// come meanwhile wait for the same answer.
type nodeSamples struct {
	mutex   sync.Mutex
	scraped time.Time
	summary *stats.Summary
}

// Usage is the use of a node or a container. Its rate covers at most the window before its time.
type Usage struct {
	time      time.Time
	resources v1.ResourceList
}

func newSamples(scrape scrape) *Samples {
	// Round(0) removes the monotonic clock, which stands still while a machine is saved.
	now := func() time.Time { return time.Now().Round(0) }
	return &Samples{scrape: scrape, now: now, nodes: map[string]*nodeSamples{}}
}

// of returns the summaries of nodes by the nodes' names. Nodes without a usable summary are missing.
func (s *Samples) of(nodes []*v1.Node) map[string]*stats.Summary {
	found := make([]*stats.Summary, len(nodes))
	var scrapes sync.WaitGroup
	for i, node := range nodes {
		scrapes.Add(1)
		go func(i int, node *v1.Node) {
			defer scrapes.Done()
			found[i] = s.entry(node.Name).current(s, node)
		}(i, node)
	}
	scrapes.Wait()
	summaries := map[string]*stats.Summary{}
	for i, node := range nodes {
		if found[i] != nil {
			summaries[node.Name] = found[i]
		}
	}
	return summaries
}

func (s *Samples) entry(node string) *nodeSamples {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	entry, found := s.nodes[node]
	if !found {
		entry = &nodeSamples{}
		s.nodes[node] = entry
	}
	return entry
}

func (n *nodeSamples) current(s *Samples, node *v1.Node) *stats.Summary {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	// A negative age: the clock was set back.
	if age := s.now().Sub(n.scraped); age >= 0 && age < maxAnswerAge {
		return n.summary
	}
	// Not the request's context: other requests wait for this answer.
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	summary, err := s.scrape(ctx, node)
	if err != nil {
		log.Printf("node %s: %v", node.Name, err)
		summary = nil
	}
	n.scraped, n.summary = s.now(), summary
	return summary
}

// node returns the use of a node, if its kubelet has a current rate.
func (s *Samples) node(summary *stats.Summary) (Usage, bool) {
	// cAdvisor shows 0 until it has two samples. No node uses no processor time.
	if rate := summary.Node.CPU; rate == nil || rate.UsageNanoCores == nil || *rate.UsageNanoCores == 0 {
		return Usage{}, false
	}
	return s.usage(summary.Node.CPU, summary.Node.Memory)
}

// container returns the use of a container, if its kubelet has a current rate.
func (s *Samples) container(container *stats.ContainerStats) (Usage, bool) {
	usage, ok := s.usage(container.CPU, container.Memory)
	// An idle container uses nothing, too; a new container's 0 is a missing rate.
	if ok && *container.CPU.UsageNanoCores == 0 && usage.time.Sub(container.StartTime.Time) < window {
		return Usage{}, false
	}
	return usage, ok
}

func (s *Samples) usage(cpu *stats.CPUStats, memory *stats.MemoryStats) (Usage, bool) {
	if cpu == nil || cpu.UsageNanoCores == nil || !s.believes(cpu.Time.Time) {
		return Usage{}, false
	}
	if memory == nil || memory.WorkingSetBytes == nil || !s.believes(memory.Time.Time) {
		return Usage{}, false
	}
	return Usage{cpu.Time.Time, v1.ResourceList{
		v1.ResourceCPU:    *resource.NewScaledQuantity(int64(*cpu.UsageNanoCores), resource.Nano),
		v1.ResourceMemory: *resource.NewQuantity(int64(*memory.WorkingSetBytes), resource.BinarySI),
	}}, true
}

// believes judges a sample by the kubelet's time of it: a kubelet that was restored from memory still has the samples of the
// saved machine.
func (s *Samples) believes(taken time.Time) bool {
	age := s.now().Sub(taken)
	return age <= maxSampleAge && age >= -maxClockSkew
}
