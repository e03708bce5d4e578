// A client of the kind that controllers are written with, against the API of a kubeconfig.
//
//	client-go <kubeconfig> <namespace>
//
// Each step prints one line; what goes wrong ends the program with its error.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
)

const patience = 30 * time.Second

var adapters = schema.GroupVersionResource{Group: "model.aibrix.ai", Version: "v1alpha1", Resource: "modeladapters"}

func must(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
	fmt.Println(what)
}

func expect(what string, ok bool, got any) {
	if !ok {
		must(what, fmt.Errorf("got %v", got))
	}
	fmt.Println(what)
}

// within waits for a channel, since nothing here may hang.
func within(what string, done <-chan struct{}) {
	select {
	case <-done:
		fmt.Println(what)
	case <-time.After(patience):
		must(what, fmt.Errorf("not within %v", patience))
	}
}

func main() {
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	must("config", err)
	config.ContentType = "application/json"
	config.QPS, config.Burst = 200, 400
	namespace := os.Args[2]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client := kubernetes.NewForConfigOrDie(config)

	discover(config)
	typed(ctx, client, namespace)
	informer(ctx, client, namespace)
	custom(ctx, config, namespace)
	metadataOnly(ctx, config, namespace)
	leader(ctx, client, namespace)
}

func discover(config *rest.Config) {
	client := discovery.NewDiscoveryClientForConfigOrDie(config)
	groups, resources, err := client.ServerGroupsAndResources()
	must("discovery", err)
	expect("groups", len(groups) > 5 && len(resources) > 5, groups)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client))
	mapping, err := mapper.RESTMapping(schema.GroupKind{Group: "model.aibrix.ai", Kind: "ModelAdapter"})
	must("mapping", err)
	expect("mapped resource", mapping.Resource == adapters, mapping.Resource)
	version, err := client.ServerVersion()
	must("version", err)
	expect("minor version", version.Minor == "34", version)
	document, err := client.OpenAPISchema()
	must("OpenAPI v2", err)
	expect("definitions", len(document.GetDefinitions().GetAdditionalProperties()) > 50, "few")
	paths, err := client.OpenAPIV3().Paths()
	must("OpenAPI v3", err)
	_, err = paths["apis/apps/v1"].Schema("application/json")
	must("OpenAPI v3 of apps", err)
}

func typed(ctx context.Context, client *kubernetes.Clientset, namespace string) {
	maps := client.CoreV1().ConfigMaps(namespace)
	made, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "made-"}}, metav1.CreateOptions{})
	must("create", err)
	_, err = maps.Get(ctx, "none", metav1.GetOptions{})
	expect("not found", errors.IsNotFound(err), err)
	_, err = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: made.Name}}, metav1.CreateOptions{})
	expect("already exists", errors.IsAlreadyExists(err), err)
	stale := made.DeepCopy()
	made.Data = map[string]string{"a": "1"}
	_, err = maps.Update(ctx, made, metav1.UpdateOptions{})
	must("update", err)
	_, err = maps.Update(ctx, stale, metav1.UpdateOptions{})
	expect("conflict", errors.IsConflict(err), err)
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		fresh, err := maps.Get(ctx, made.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		fresh.Data["b"] = "2"
		_, err = maps.Update(ctx, fresh, metav1.UpdateOptions{})
		return err
	})
	must("retried update", err)
	apply := corev1apply.ConfigMap("applied", namespace).WithData(map[string]string{"x": "1"})
	applied, err := maps.Apply(ctx, apply, metav1.ApplyOptions{FieldManager: "me"})
	must("apply", err)
	extracted, err := corev1apply.ExtractConfigMap(applied, "me")
	must("extract", err)
	expect("extracted fields", extracted.Data["x"] == "1" && len(extracted.Data) == 1, extracted.Data)
	other := corev1apply.ConfigMap("applied", namespace).WithData(map[string]string{"x": "2"})
	_, err = maps.Apply(ctx, other, metav1.ApplyOptions{FieldManager: "other"})
	expect("apply conflict", errors.IsConflict(err), err)
	_, err = maps.Apply(ctx, other, metav1.ApplyOptions{FieldManager: "other", Force: true})
	must("forced apply", err)
	replicas := int32(2)
	labels := map[string]string{"app": "web"}
	deployments := client.AppsV1().Deployments(namespace)
	_, err = deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example/image:1"}}},
			},
		},
	}, metav1.CreateOptions{})
	must("create deployment", err)
	scale, err := deployments.GetScale(ctx, "web", metav1.GetOptions{})
	must("get scale", err)
	scale.Spec.Replicas = 5
	scale, err = deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{})
	must("update scale", err)
	expect("scaled", scale.Spec.Replicas == 5, scale.Spec.Replicas)
	patch := []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"example/image:2"}]}}}}`)
	patched, err := deployments.Patch(ctx, "web", types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	must("strategic patch", err)
	expect("patched image", patched.Spec.Template.Spec.Containers[0].Image == "example/image:2", patched.Spec)
	err = maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name=applied"})
	must("delete collection", err)
}

// An informer of 0.34 asks for its initial list as a stream of a watch.
func informer(ctx context.Context, client *kubernetes.Clientset, namespace string) {
	secrets := client.CoreV1().Secrets(namespace)
	create := func(name string) {
		_, err := secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		must("create secret "+name, err)
	}
	create("one")
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	shared := factory.Core().V1().Secrets().Informer()
	added, updated, deleted := make(chan struct{}), make(chan struct{}), make(chan struct{})
	_, err := shared.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			if object.(*corev1.Secret).Name == "two" {
				close(added)
			}
		},
		UpdateFunc: func(_, _ any) { close(updated) },
		DeleteFunc: func(_ any) { close(deleted) },
	})
	must("handler", err)
	factory.Start(ctx.Done())
	expect("synced", cache.WaitForCacheSync(ctx.Done(), shared.HasSynced), "no")
	expect("listed", len(shared.GetStore().ListKeys()) == 1, shared.GetStore().ListKeys())
	create("two")
	within("added", added)
	_, err = secrets.Patch(ctx, "two", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
	must("patch secret", err)
	within("updated", updated)
	must("delete secret", secrets.Delete(ctx, "two", metav1.DeleteOptions{}))
	within("deleted", deleted)
	list, err := secrets.List(ctx, metav1.ListOptions{})
	must("list", err)
	stream, err := secrets.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	must("watch", err)
	create("three")
	event := <-stream.ResultChan()
	expect("watched", event.Type == watch.Added && event.Object.(*corev1.Secret).Name == "three", event)
	stream.Stop()
}

func custom(ctx context.Context, config *rest.Config, namespace string) {
	client := dynamic.NewForConfigOrDie(config)
	resource := client.Resource(adapters).Namespace(namespace)
	object := func(name string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "model.aibrix.ai/v1alpha1",
			"kind":       "ModelAdapter",
			"metadata":   map[string]any{"name": name, "namespace": namespace},
			"spec": map[string]any{
				"artifactURL": "huggingface://org/repo",
				"podSelector": map[string]any{"matchLabels": map[string]any{"a": "b"}},
			},
		}}
	}
	_, err := resource.Create(ctx, object("one"), metav1.CreateOptions{})
	must("create custom object", err)
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, namespace, nil)
	shared := factory.ForResource(adapters).Informer()
	added := make(chan struct{})
	_, err = shared.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(object any) {
		if object.(*unstructured.Unstructured).GetName() == "two" {
			close(added)
		}
	}})
	must("custom handler", err)
	factory.Start(ctx.Done())
	expect("custom synced", cache.WaitForCacheSync(ctx.Done(), shared.HasSynced), "no")
	_, err = resource.Apply(ctx, "two", object("two"), metav1.ApplyOptions{FieldManager: "me"})
	must("apply custom object", err)
	within("custom added", added)
	found, err := resource.Get(ctx, "two", metav1.GetOptions{})
	must("get custom object", err)
	must("set status", unstructured.SetNestedField(found.Object, "Running", "status", "phase"))
	found, err = resource.UpdateStatus(ctx, found, metav1.UpdateOptions{})
	must("update status", err)
	phase, _, _ := unstructured.NestedString(found.Object, "status", "phase")
	expect("status", phase == "Running", phase)
	pages := []string{}
	options := metav1.ListOptions{Limit: 1}
	for {
		page, err := resource.List(ctx, options)
		must("page", err)
		for _, item := range page.Items {
			pages = append(pages, item.GetName())
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			break
		}
	}
	sort.Strings(pages)
	text, _ := json.Marshal(pages)
	expect("pages", string(text) == `["one","two"]`, string(text))
	_, err = resource.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "model.aibrix.ai/v1alpha1", "kind": "ModelAdapter",
		"metadata": map[string]any{"name": "bad"},
	}}, metav1.CreateOptions{})
	expect("invalid", errors.IsInvalid(err), err)
}

func metadataOnly(ctx context.Context, config *rest.Config, namespace string) {
	client := metadata.NewForConfigOrDie(metadata.ConfigFor(config))
	list, err := client.Resource(adapters).Namespace(namespace).List(ctx, metav1.ListOptions{})
	must("metadata list", err)
	expect("metadata items", len(list.Items) == 2, list.Items)
	stream, err := client.Resource(adapters).Namespace(namespace).Watch(ctx, metav1.ListOptions{})
	must("metadata watch", err)
	event := <-stream.ResultChan()
	_, ok := event.Object.(*metav1.PartialObjectMetadata)
	expect("metadata event", ok && event.Type == watch.Added, event)
	stream.Stop()
}

func leader(ctx context.Context, client *kubernetes.Clientset, namespace string) {
	ctx, cancel := context.WithCancel(ctx)
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Name: "leader", Namespace: namespace},
		Client:     client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: "me"},
	}
	led := make(chan struct{})
	go leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock:            lock,
		ReleaseOnCancel: true,
		LeaseDuration:   3 * time.Second,
		RenewDeadline:   2 * time.Second,
		RetryPeriod:     500 * time.Millisecond,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(led) },
			OnStoppedLeading: func() {},
		},
	})
	within("leading", led)
	cancel()
}
