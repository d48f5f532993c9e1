#ifndef ROMULUS_COMMON_XEN_HANDLES_H_
#define ROMULUS_COMMON_XEN_HANDLES_H_

#include <cstdlib>
#include <memory>

// Xen's C headers know nothing of C++.
extern "C" {
#include <xenctrl.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xenstore.h>
#include <xentoollog.h>
}

// All deleters for the handles of Xen's C libraries: a handle is owned from the line where it is born.
// Needs -std=gnu++20 (xenctrl.h does not compile under __STRICT_ANSI__).
namespace romulus {

struct XenHandleDeleter {
  void operator()(xc_interface* handle) const { xc_interface_close(handle); }
  void operator()(xs_handle* handle) const { xs_close(handle); }
  void operator()(xenevtchn_handle* handle) const { xenevtchn_close(handle); }
  void operator()(xenforeignmemory_handle* handle) const { xenforeignmemory_close(handle); }
  void operator()(xentoollog_logger* logger) const { xtl_logger_destroy(logger); }
};

using XcInterface = std::unique_ptr<xc_interface, XenHandleDeleter>;
using XenstoreHandle = std::unique_ptr<xs_handle, XenHandleDeleter>;
using EventChannelHandle = std::unique_ptr<xenevtchn_handle, XenHandleDeleter>;
using ForeignMemoryHandle = std::unique_ptr<xenforeignmemory_handle, XenHandleDeleter>;
using ToolLoggerHandle = std::unique_ptr<xentoollog_logger, XenHandleDeleter>;

struct FreeDeleter {
  void operator()(void* memory) const { free(memory); }
};
// What libxenstore and libxc return for the caller to free().
template <typename T>
using MallocPtr = std::unique_ptr<T, FreeDeleter>;

}  // namespace romulus

#endif  // ROMULUS_COMMON_XEN_HANDLES_H_
