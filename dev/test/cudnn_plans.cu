// Whether cuDNN takes our graphs of attention, on GPUs that need not be there: it plans for a description of one. And
// what scratch the plans need, which the table of memory at the start has: as we say it is, and no more for the
// shapes that sampling uses than for the one that is trained.
//   cudnn_plans
#include "../../llmc/cuda/attention_cudnn.h"

// What cuDNN asks of a GPU, as its JSON has it: NVIDIA's A100 and H100.
#define GPU(version, processors, shared, reserved, blocks, cache)                                                \
  "{\"deviceVer\":" version ",\"multiProcessorCount\":" processors                                               \
  ",\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,\"maxSharedMemoryPerBlockOptin\":" shared                  \
  ",\"reservedSharedMemoryPerBlock\":" reserved ",\"maxRegistersPerSM\":65536,\"maxCtasPerSM\":" blocks          \
  ",\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,\"regsPerBlock\":65536,\"totalGlobalMem\":85017493504," \
  "\"smClockRateKHz\":1410000,\"l2CacheSize\":" cache                                                            \
  ",\"maxBlockSize\":[1024,1024,64],\"memClockRateKHz\":1593000,"                                                \
  "\"maxGridSize\":[2147483647,65535,65535],\"supportCoopLaunch\":1,\"pciDeviceId\":0,\"isTccDriver\":0,"        \
  "\"cudaDeviceId\":0,\"driverVer\":13000,\"deviceName\":\"test\"}"

static const struct {
  const char *name, *json;
} gpus[] = {{"sm_80", GPU("800", "108", "166912", "1024", "32", "41943040")},
            {"sm_90", GPU("900", "132", "232448", "1024", "32", "52428800")}};

static const struct {
  size_t B, T, C, NH;
} shapes[] = {{4, 1024, 768, 12}, {1, 64, 128, 4}, {2, 1000, 1024, 8}, {3, 77, 240, 3}, {8, 512, 320, 4}};

enum { SMALL = 4096, TILE = 128, SAMPLING_STEP = 64 }; // bytes beside the matrix; its rows; a sampler's context

static int64_t scratch_of(const char *gpu, const AttentionCall *call, int backward) {
  char problem[2048];
  const int64_t workspace = attention_cudnn_plan_for(gpu, call, backward, problem, sizeof problem);
  return workspace < 0 ? -1 : (int64_t)attention_cudnn_scratch_with(call, backward, (size_t)workspace);
}

// Forward needs next to nothing; backward D, (B, NH, T) in fp32, and a (B, NH, T, T) matrix in the type, T in whole
// tiles.
static int scratch_as_expected(const AttentionCall *call, int backward, int64_t scratch) {
  const size_t tiles = (call->T + TILE - 1) / TILE * TILE, rows = call->B * call->NH;
  const size_t smallest = rows * call->T * (sizeof(float) + call->T * zero_type_size(call->type));
  const size_t largest = rows * call->T * sizeof(float) + rows * tiles * tiles * zero_type_size(call->type) + SMALL;
  return backward ? (size_t)scratch >= smallest && (size_t)scratch <= largest : scratch > 0 && scratch <= SMALL;
}

// Forward of every context of a sampler, one sequence at a time, within the scratch of training.
static int samples_within(const char *gpu, AttentionCall call) {
  const int64_t forward = scratch_of(gpu, &call, 0), backward = scratch_of(gpu, &call, 1);
  const int64_t trained = forward > backward ? forward : backward;
  const size_t longest = call.T;
  int contexts = 0;
  call.B = 1;
  for (call.T = SAMPLING_STEP; call.T <= longest; call.T += SAMPLING_STEP, contexts++) {
    const int64_t bytes = scratch_of(gpu, &call, 0);
    if (bytes < 0 || bytes > trained) return 0;
  }
  return contexts > 0;
}

int main(void) {
  int passed = 0, failed = 0;
  for (size_t g = 0; g < sizeof gpus / sizeof *gpus; g++) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
      for (int variant = 0; variant < 4; variant++) {
        const int backward = variant & 1;
        const AttentionCall call = {
            variant & 2 ? ZERO_F16 : ZERO_BF16, shapes[i].B, shapes[i].T, shapes[i].C, shapes[i].NH, 1, 1, 0, 0};
        char problem[2048] = "";
        const char *refusal = attention_cudnn_refuses(&call);
        const int64_t bytes =
            refusal ? -1 : attention_cudnn_plan_for(gpus[g].json, &call, backward, problem, sizeof problem);
        printf("%s %s %s, %s, B %zu, T %zu, C %zu, NH %zu: %lld bytes%s%s\n", bytes >= 0 ? "ok" : "not ok",
               gpus[g].name, backward ? "backward" : "forward", zero_type_name(call.type), call.B, call.T, call.C,
               call.NH, (long long)bytes, problem, refusal ? refusal : "");
        const int64_t scratch =
            bytes < 0 ? -1 : (int64_t)attention_cudnn_scratch_with(&call, backward, (size_t)bytes);
        const int expected = bytes >= 0 && scratch_as_expected(&call, backward, scratch);
        if (!expected) printf("not ok scratch of %lld bytes\n", (long long)scratch);
        if (expected)
          passed++;
        else
          failed++;
      }
    }
    const AttentionCall trained = {ZERO_BF16, 4, 1024, 768, 12, 1, 1, 0, 0};
    const int within = samples_within(gpus[g].json, trained);
    printf("%s %s scratch of a sampler's contexts\n", within ? "ok" : "not ok", gpus[g].name);
    if (within)
      passed++;
    else
      failed++;
  }
  printf("%d passed, %d failed, 0 skipped\n", passed, failed);
  return failed != 0;
}
