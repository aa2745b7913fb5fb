// A CUDA runtime whose every call ends as a test says, in the place of the real header for native/kernels/cuda/memory.cu.
#pragma once

#include <cstddef>

enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation, cudaErrorIllegalAddress };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
struct cudaDeviceProp {
  char name[8];
  int major, minor, multiProcessorCount;
};

namespace zazen::fake {
inline cudaError_t status = cudaSuccess;
}

inline cudaError_t cudaGetLastError() { return zazen::fake::status; }
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : "an illegal memory access";
}
inline const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaErrorIllegalAddress";
}
inline cudaError_t cudaMalloc(void**, size_t) { return zazen::fake::status; }
inline cudaError_t cudaFree(void*) { return zazen::fake::status; }
inline cudaError_t cudaMemcpy(void*, const void*, size_t, cudaMemcpyKind) { return zazen::fake::status; }
inline cudaError_t cudaMemset(void*, int, size_t) { return zazen::fake::status; }
inline cudaError_t cudaDeviceSynchronize() { return zazen::fake::status; }
inline cudaError_t cudaGetDeviceCount(int*) { return zazen::fake::status; }
inline cudaError_t cudaGetDevice(int*) { return zazen::fake::status; }
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int) { return zazen::fake::status; }
inline cudaError_t cudaMemGetInfo(size_t*, size_t*) { return zazen::fake::status; }
inline cudaError_t cudaDriverGetVersion(int*) { return zazen::fake::status; }
inline cudaError_t cudaRuntimeGetVersion(int*) { return zazen::fake::status; }
