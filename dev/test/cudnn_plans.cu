// Whether cuDNN takes our graphs of attention, on GPUs that need not be there: it plans for a description of one.
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
        if (bytes >= 0)
          passed++;
        else
          failed++;
      }
    }
  }
  printf("%d passed, %d failed, 0 skipped\n", passed, failed);
  return failed != 0;
}
