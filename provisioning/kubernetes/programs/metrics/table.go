package main

import (
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// tableOf returns the table of `kubectl get`, with the columns of upstream's metrics-server. Other objects stay as they are.
func tableOf(object runtime.Object, include string) runtime.Object {
	table := &metav1.Table{
		TypeMeta: metav1.TypeMeta{APIVersion: metav1.SchemeGroupVersion.String(), Kind: "Table"},
		ColumnDefinitions: []metav1.TableColumnDefinition{
			{Name: "Name", Type: "string", Format: "name", Description: "Name of the resource"},
			{Name: "cpu", Type: "string", Description: "CPU use: cores"},
			{Name: "memory", Type: "string", Description: "Memory use: the working set"},
			{Name: "window", Type: "string", Description: "The rate covers at most this time"},
		},
		Rows: []metav1.TableRow{},
	}
	add := func(one runtime.Object, meta metav1.ObjectMeta, window metav1.Duration, usages ...v1.ResourceList) {
		cpu, memory := sum(usages, v1.ResourceCPU), sum(usages, v1.ResourceMemory)
		row := metav1.TableRow{Cells: []interface{}{meta.Name, cpu, memory, window.Duration.String()}}
		switch metav1.IncludeObjectPolicy(include) {
		case metav1.IncludeNone:
		case metav1.IncludeObject:
			row.Object.Object = one
		default:
			kind := metav1.TypeMeta{APIVersion: metav1.SchemeGroupVersion.String(), Kind: "PartialObjectMetadata"}
			row.Object.Object = &metav1.PartialObjectMetadata{TypeMeta: kind, ObjectMeta: meta}
		}
		table.Rows = append(table.Rows, row)
	}
	addPod := func(one *metrics.PodMetrics) {
		var usages []v1.ResourceList
		for _, container := range one.Containers {
			usages = append(usages, container.Usage)
		}
		add(one, one.ObjectMeta, one.Window, usages...)
	}
	switch typed := object.(type) {
	case *metrics.NodeMetrics:
		add(typed, typed.ObjectMeta, typed.Window, typed.Usage)
	case *metrics.NodeMetricsList:
		for i := range typed.Items {
			add(&typed.Items[i], typed.Items[i].ObjectMeta, typed.Items[i].Window, typed.Items[i].Usage)
		}
	case *metrics.PodMetrics:
		addPod(typed)
	case *metrics.PodMetricsList:
		for i := range typed.Items {
			addPod(&typed.Items[i])
		}
	default:
		return object
	}
	return table
}

func sum(usages []v1.ResourceList, name v1.ResourceName) string {
	total := usages[0][name].DeepCopy()
	for _, usage := range usages[1:] {
		total.Add(usage[name])
	}
	return total.String()
}
