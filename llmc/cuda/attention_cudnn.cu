// Attention through cuDNN: plans for the graphs of attention_cudnn_graph.cu, one per shape, and their runs.
//
// Engines that cuDNN notes as nondeterministic are passed over. Nothing is timed: the first of the heuristic is
// taken. In backward cuDNN's deterministic engines keep a (B, NH, T, T) matrix in the type as workspace.
#include <math.h>

#include "../../zero/cuda_launch.h"
#include "../plan_places.h"
#include "attention_cudnn_graph.cuh"

enum { MOST_ENGINES = 8 };  // that are tried, in the order of cuDNN's heuristic
enum { CACHED_PLANS = 16 }; // training and sampling use two or three shapes
// Before it backward erred where T is no multiple of 128, and two versions erred in general.
enum { OLDEST_VERSION = 91501 };
enum { SCRATCH_ALIGNMENT = 256 }; // as of cudaMalloc

typedef struct {
  Key key;
  Descriptor plan;
  size_t workspace; // bytes
} Plan;

// The process's handle and plans. The operations have no context of their own to hold them.
static struct {
  cudnnHandle_t handle;
  size_t scratch; // most bytes that were asked for
  PlanPlaces places;
  Plan plans[CACHED_PLANS];
} cache;

static void check(cudnnStatus_t status, const char *what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char words[MESSAGE_BYTES] = "";
  cudnnGetLastErrorString(words, sizeof words);
  zero_fatal("cuDNN: %s: %s: %s", what, cudnnGetErrorString(status), words);
}

// ---------------------------------------------------------------- plans
static int is_deterministic(Graph *g, Descriptor config) {
  cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
  int64_t found = 0, number = 0;
  Descriptor engine = cudnn_create(g, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  if (!cudnn_note(g,
                  cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                           &found, &engine),
                  "engine") ||
      !cudnn_note(g,
                  cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                           CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &number, notes),
                  "numerical notes")) {
    return 0;
  }
  for (int64_t i = 0; i < number; i++) {
    if (notes[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) return 0;
  }
  return 1;
}

// The plan of the first deterministic engine that the heuristic names for this GPU and that takes the graph. With
// `gpu`, a description, nothing can be loaded: then only the bytes of workspace that such an engine needs.
static void choose_plan(Graph *g, Descriptor graph, Descriptor gpu, Plan *made) {
  const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
  Descriptor heuristic = cudnn_create(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR), configs[MOST_ENGINES];
  cudnn_set_descriptor(g, heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  cudnn_set(g, heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (gpu) cudnn_set_descriptor(g, heuristic, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, gpu);
  if (!cudnn_finalize(g, heuristic, "heuristic")) return;
  for (int i = 0; i < MOST_ENGINES; i++) configs[i] = cudnn_create(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  int64_t found = 0, bytes = 0, one = 0;
  cudnnStatus_t status = cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                                  CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST_ENGINES, &found, configs);
  if (!cudnn_note(g, status, "heuristic's results")) return;
  for (int64_t i = 0; i < found && i < MOST_ENGINES; i++) {
    if (!is_deterministic(g, configs[i])) continue;
    Descriptor plan = configs[i];
    cudnnBackendAttributeName_t size = CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE;
    if (!gpu) {
      size = CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE;
      plan = cudnn_create(g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      cudnn_set(g, plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &cache.handle);
      cudnn_set_descriptor(g, plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configs[i]);
      if (!cudnn_finalize(g, plan, "plan")) continue;
      g->count--; // the cache keeps it
      made->plan = plan;
    }
    g->problem[0] = '\0'; // an engine before it may have refused
    cudnn_note(g, cudnnBackendGetAttribute(plan, size, CUDNN_TYPE_INT64, 1, &one, &bytes), "bytes of workspace");
    made->workspace = (size_t)bytes;
    return;
  }
  if (g->problem[0] == '\0') {
    snprintf(g->problem, g->problem_bytes, "none of its %d engines for it is deterministic", (int)found);
  }
}

// Plans what the key says; problem is empty if that succeeds.
static Plan make_plan(const Key *key, const char *gpu, char *problem, size_t problem_bytes) {
  Graph g;
  Plan made;
  memset(&g, 0, sizeof g);
  memset(&made, 0, sizeof made);
  made.key = g.key = *key;
  g.next_virtual = UID_FIRST_VIRTUAL;
  g.problem = problem;
  g.problem_bytes = problem_bytes;
  problem[0] = '\0';
  if (key->backward) {
    cudnn_backward_graph(&g);
  } else {
    cudnn_forward_graph(&g);
  }
  Descriptor described = NULL, graph = cudnn_create(&g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  if (gpu) {
    described = cudnn_create(&g, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    cudnn_set(&g, described, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)strlen(gpu), gpu);
    cudnn_finalize(&g, described, "description of a GPU");
  } else { // the handle says which GPU
    cudnn_set(&g, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &cache.handle);
  }
  cudnn_set(&g, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, (int64_t)g.num_operations,
            g.operations);
  if (cudnn_finalize(&g, graph, "graph") && problem[0] == '\0') choose_plan(&g, graph, described, &made);
  cudnn_destroy_graph(&g);
  return made;
}

static Key key_of(const AttentionCall *call, int backward) {
  Key key = {(uint64_t)call->type, call->B, call->T, call->C, call->NH, backward != 0};
  return key;
}

int64_t attention_cudnn_plan_for(const char *gpu, const AttentionCall *call, int backward, char *problem,
                                 size_t problem_bytes) {
  const Key key = key_of(call, backward);
  Plan made = make_plan(&key, gpu, problem, problem_bytes);
  return problem[0] == '\0' ? (int64_t)made.workspace : -1;
}

static void open_library(void) {
  const size_t version = cudnnGetVersion();
  if (version < OLDEST_VERSION) {
    zero_fatal("cuDNN: found version %zu, expected %d (9.15.1) or newer: update it or use ZERO_ATTENTION=own",
               version, OLDEST_VERSION);
  }
  check(cudnnCreate(&cache.handle), "cudnnCreate");
}

static Plan *find_plan(const AttentionCall *call, int backward) {
  const Key key = key_of(call, backward);
  size_t place;
  const PlanState state =
      plan_places_find(&cache.places, CACHED_PLANS, cache.plans, sizeof cache.plans[0], &key, sizeof key, &place);
  Plan *plan = &cache.plans[place];
  if (state == PLAN_KNOWN) return plan;
  char problem[2 * MESSAGE_BYTES];
  if (cache.handle == NULL) open_library();
  if (state == PLAN_REPLACES) {
    check(cudnnBackendDestroyDescriptor(plan->plan), "cudnnBackendDestroyDescriptor");
  }
  *plan = make_plan(&key, NULL, problem, sizeof problem);
  if (problem[0] != '\0') {
    zero_fatal(
        "cuDNN has no %s attention in %s for B %zu, T %zu, C %zu, NH %zu: %s; ZERO_ATTENTION=own does "
        "without it",
        backward ? "backward" : "forward", zero_type_name(call->type), call->B, call->T, call->C, call->NH, problem);
  }
  return plan;
}

// ---------------------------------------------------------------- running
// Scratch, from its first address that is a multiple of SCRATCH_ALIGNMENT on: in backward D, (B, NH, T), then the
// plan's workspace.
static size_t rounded(size_t bytes) {
  return (bytes + SCRATCH_ALIGNMENT - 1) / SCRATCH_ALIGNMENT * SCRATCH_ALIGNMENT;
}

static size_t delta_bytes(const AttentionCall *call) {
  return rounded(call->B * call->NH * call->T * sizeof(float));
}

size_t attention_cudnn_scratch_with(const AttentionCall *call, int backward, size_t workspace) {
  return SCRATCH_ALIGNMENT + (backward ? delta_bytes(call) : 0) + workspace;
}

size_t attention_cudnn_scratch(const AttentionCall *call, int backward) {
  const size_t bytes = attention_cudnn_scratch_with(call, backward, find_plan(call, backward)->workspace);
  if (bytes > cache.scratch) cache.scratch = bytes;
  return bytes;
}

static char *aligned_scratch(void *scratch, const AttentionCall *call, int backward, const Plan *plan) {
  const size_t bytes = attention_cudnn_scratch_with(call, backward, plan->workspace);
  if (bytes > cache.scratch) {
    zero_fatal(
        "cuDNN: %s attention for B %zu, T %zu, C %zu, NH %zu needs %zu bytes of scratch, at most %zu were asked for: "
        "ask attention_%s_scratch for the largest shape, or set ZERO_ATTENTION=own",
        backward ? "backward" : "forward", call->B, call->T, call->C, call->NH, bytes, cache.scratch,
        backward ? "backward" : "forward");
  }
  return (char *)rounded((uintptr_t)scratch);
}

// Queues a plan on tensors and scalars by uid: (count) each.
static void run(const Plan *plan, const int64_t *uids, void *const *pointers, int64_t count, void *scratch,
                ZeroStream stream) {
  Descriptor pack = NULL;
  check(cudnnSetStream(cache.handle, (cudaStream_t)stream), "cudnnSetStream");
  check(cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack), "variant pack");
  check(cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, uids), "uids");
  check(cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointers),
        "pointers");
  check(cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &scratch),
        "workspace");
  check(cudnnBackendFinalize(pack), "variant pack");
  check(cudnnBackendExecute(cache.handle, plan->plan, pack), "attention");
  check(cudnnBackendDestroyDescriptor(pack), "variant pack");
}

// The tensors and scalars of one call. cuDNN reads scalars while it queues the work.
typedef struct {
  int64_t uids[MOST_BOUND];
  void *pointers[MOST_BOUND];
  int64_t count;
  float scale, masked, one;
} Binding;

static void bind(Binding *b, int64_t uid, const void *pointer) {
  b->uids[b->count] = uid;
  b->pointers[b->count++] = (void *)pointer; // cuDNN's list has no const
}

// The inputs and scalars that both graphs have.
static void bind_call(Binding *b, const AttentionCall *call, const void *qkv) {
  const size_t bytes = call->C * zero_type_size(call->type);
  b->count = 0;
  b->scale = 1.0f / sqrtf((float)(call->C / call->NH));
  b->masked = -INFINITY;
  b->one = 1.0f;
  bind(b, UID_Q, qkv);
  bind(b, UID_K, (const char *)qkv + bytes);
  bind(b, UID_V, (const char *)qkv + 2 * bytes);
  bind(b, UID_SCALE, &b->scale);
  bind(b, UID_MASKED, &b->masked);
}

void attention_cudnn_forward(void *out, float *lse, const void *qkv, const AttentionCall *call, void *scratch,
                             ZeroStream stream) {
  Plan *plan = find_plan(call, 0);
  Binding b;
  bind_call(&b, call, qkv);
  bind(&b, UID_O, out);
  bind(&b, UID_STATS, lse);
  run(plan, b.uids, b.pointers, b.count, aligned_scratch(scratch, call, 0, plan), stream);
}

void attention_cudnn_backward(void *dqkv, const void *dout, const void *out, const float *lse, const void *qkv,
                              const AttentionCall *call, void *scratch, ZeroStream stream) {
  Plan *plan = find_plan(call, 1);
  const size_t bytes = call->C * zero_type_size(call->type);
  char *memory = aligned_scratch(scratch, call, 1, plan);
  Binding b;
  bind_call(&b, call, qkv);
  bind(&b, UID_O, out);
  bind(&b, UID_STATS, lse);
  bind(&b, UID_DO, dout);
  bind(&b, UID_DQ, dqkv);
  bind(&b, UID_DK, (char *)dqkv + bytes);
  bind(&b, UID_DV, (char *)dqkv + 2 * bytes);
  bind(&b, UID_DELTA, memory);
  bind(&b, UID_ONE, &b.one);
  run(plan, b.uids, b.pointers, b.count, memory + delta_bytes(call), stream);
}

size_t attention_cudnn_version(void) {
  return cudnnGetVersion();
}
