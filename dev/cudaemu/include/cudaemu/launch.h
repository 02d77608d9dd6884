// LAUNCH, SHARED and DYN_SMEM of zero/cuda_launch.h on the CPU.
#ifndef CUDAEMU_LAUNCH_H
#define CUDAEMU_LAUNCH_H

#include "qualifiers.h"
#include "runtime_api.h"
#include "vector_types.h"

// Where and as what a kernel was launched.
typedef struct {
  const char *kernel, *file;
  int line;
} CudaemuSite;

// A kernel with its arguments; run_thread is called once for each thread.
struct CudaemuCall {
  virtual ~CudaemuCall() {}
  virtual void run_thread() const = 0;
};

// Checks the limits and puts the launch into the stream. `function`: what cudaFuncSetAttribute knows it by.
void cudaemu_enqueue_launch(const CudaemuSite &site, const void *function, dim3 grid, dim3 block, size_t smem,
                            cudaStream_t stream, std::unique_ptr<CudaemuCall> call);
// Ends the program if `pointer` is neither NULL nor memory that a kernel may use.
void cudaemu_check_argument(const CudaemuSite &site, int index, const void *pointer);

template <typename... Parameters>
struct CudaemuKernelCall : CudaemuCall {
  void (*kernel)(Parameters...);
  std::tuple<Parameters...> arguments;
  CudaemuKernelCall(void (*kernel)(Parameters...), Parameters... arguments)
      : kernel(kernel), arguments(arguments...) {}
  void run_thread() const override { std::apply(kernel, arguments); }
};

template <typename T>
static inline void cudaemu_check_if_pointer(const CudaemuSite &site, int index, const T &argument) {
  if constexpr (std::is_pointer<T>::value) cudaemu_check_argument(site, index, (const void *)argument);
}

template <typename... Parameters>
void cudaemu_launch(const CudaemuSite &site, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t smem,
                    cudaStream_t stream, typename CudaemuSame<Parameters>::type... arguments) {
  int index = 0;
  (cudaemu_check_if_pointer(site, ++index, arguments), ...);
  cudaemu_enqueue_launch(site, (const void *)kernel, grid, block, smem, stream,
                         std::unique_ptr<CudaemuCall>(new CudaemuKernelCall<Parameters...>(kernel, arguments...)));
}

#define CUDAEMU_LAUNCH(kernel, grid, block, smem, stream, ...) \
  cudaemu_launch(CudaemuSite{#kernel, __FILE__, __LINE__}, kernel, grid, block, smem, stream, __VA_ARGS__)

// A static shared array: one slot for each declaration (of each instance of a template), which finds its memory anew
// in each block, filled with NaN and with forbidden zones around it.
typedef struct {
  unsigned long long block; // for which `memory` was found
  void *memory;
} CudaemuSharedSlot;
void *cudaemu_shared_find(CudaemuSharedSlot *slot, size_t bytes, const char *name, const char *file, int line);
void *cudaemu_shared_dynamic(void);

#define CUDAEMU_SHARED(element, name, dims)               \
  typedef element name##_array dims;                      \
  static CudaemuSharedSlot name##_slot = {0, nullptr};    \
  name##_array &name = *reinterpret_cast<name##_array *>( \
      cudaemu_shared_find(&name##_slot, sizeof(name##_array), #name, __FILE__, __LINE__))
#define CUDAEMU_DYNAMIC_SHARED(element, name) element *name = reinterpret_cast<element *>(cudaemu_shared_dynamic())

#endif
