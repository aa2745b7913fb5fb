// kernels/cuda/memory.h by the emulator.
#include "core/check.h"
#include "emulation/memory.h"
#include "kernels/cuda/memory.h"

namespace zazen::cuda {

void* allocate(size_t bytes) { return bytes ? emulation::DeviceMemory::instance().allocate(bytes) : nullptr; }
void release(void* block) noexcept { emulation::DeviceMemory::instance().release(block); }
void upload(void* device, const void* host, size_t bytes) { emulation::DeviceMemory::instance().write(device, host, bytes); }
void download(void* host, const void* device, size_t bytes) { emulation::DeviceMemory::instance().read(host, device, bytes); }
void clear(void* device, size_t bytes) { emulation::DeviceMemory::instance().fill(device, 0, bytes); }
void synchronize() {}
DeviceInfo device_info() { throw Error("NO_DEVICE", "[emulation] expected no question for a device: kernels run on the host"); }

}  // namespace zazen::cuda
