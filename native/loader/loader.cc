// The tiny addon that opens LibTorch by absolute path before the real addon is loaded, whose
// references are then met by SONAME; and that knows whether the process has one already. It also
// locks files for the hub cache. It links nothing, so that it always loads and can say what is
// wrong. Runs on the calling JavaScript thread.

#include <napi.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <dlfcn.h>
#include <sys/file.h>
#endif
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#elif !defined(_WIN32)
#include <link.h>
#endif

namespace {

enum class LockResult { kHeld, kBusy, kUnsupported };

#ifdef _WIN32
// Locks the first byte of a file, as Python's filelock does, or says that another one holds it.
LockResult LockDescriptor(int fd) {
  // Node's file descriptors belong to node's own C library, not to this addon's.
  using GetHandle = HANDLE (*)(int);
  const auto get_handle =
      reinterpret_cast<GetHandle>(GetProcAddress(GetModuleHandleW(nullptr), "uv_get_osfhandle"));
  if (get_handle == nullptr) return LockResult::kUnsupported;
  OVERLAPPED start = {};
  const DWORD flags = LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY;
  if (LockFileEx(get_handle(fd), flags, 0, 1, 0, &start)) return LockResult::kHeld;
  const DWORD error = GetLastError();
  const bool busy = error == ERROR_LOCK_VIOLATION || error == ERROR_IO_PENDING;
  return busy ? LockResult::kBusy : LockResult::kUnsupported;
}

// Returns an empty string, or why the library could not be opened.
std::string OpenLibrary(const std::string& path) {
  const int length = MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, nullptr, 0);
  std::wstring wide(static_cast<size_t>(length), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, wide.data(), length);
  const DWORD flags = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
  if (LoadLibraryExW(wide.c_str(), nullptr, flags) != nullptr) return {};
  return "error " + std::to_string(GetLastError());
}

// Returns the path of the library that the process has opened under this file name, or nothing.
std::string FindOpened(const std::string& name) {
  const HMODULE module = GetModuleHandleA(name.c_str());
  if (module == nullptr) return {};
  std::wstring wide(32768, L'\0');
  const DWORD length = GetModuleFileNameW(module, wide.data(), static_cast<DWORD>(wide.size()));
  std::string path(static_cast<size_t>(length) * 3, '\0');
  path.resize(static_cast<size_t>(
      WideCharToMultiByte(CP_UTF8, 0, wide.data(), static_cast<int>(length), path.data(),
                          static_cast<int>(path.size()), nullptr, nullptr)));
  return path;
}

void SetVariable(const std::string& name, const std::string& value) {
  _putenv_s(name.c_str(), value.c_str());
}
#else
// Locks an open file as Python's filelock does, or says that another one holds it.
LockResult LockDescriptor(int fd) {
  int result = 0;
  do {
    result = flock(fd, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return LockResult::kHeld;
  return errno == EWOULDBLOCK ? LockResult::kBusy : LockResult::kUnsupported;
}

// Returns an empty string, or why the library could not be opened. The library stays open for the
// life of the process: LibTorch does not survive being unloaded.
std::string OpenLibrary(const std::string& path) {
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) != nullptr) return {};
  const char* reason = dlerror();
  return reason != nullptr ? reason : "unknown error";
}

#ifdef __APPLE__
// Returns the path of the library that the process has opened under this file name, or nothing.
std::string FindOpened(const std::string& name) {
  const std::string ending = "/" + name;
  for (uint32_t i = 0; i < _dyld_image_count(); i++) {
    const char* image = _dyld_get_image_name(i);
    const std::string path = image != nullptr ? image : "";
    const bool fits = path.size() >= ending.size() &&
                      path.compare(path.size() - ending.size(), ending.size(), ending) == 0;
    if (fits) return path;
  }
  return {};
}
#else
// Returns the path of the library that the process has opened under this SONAME, or nothing.
std::string FindOpened(const std::string& name) {
  void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (handle == nullptr) {
    // The message belongs to this question, not to whoever fails next.
    dlerror();
    return {};
  }
  link_map* map = nullptr;
  const bool known = dlinfo(handle, RTLD_DI_LINKMAP, static_cast<void*>(&map)) == 0;
  const std::string path = known && map != nullptr && map->l_name != nullptr ? map->l_name : "";
  dlclose(handle);
  return path;
}
#endif

void SetVariable(const std::string& name, const std::string& value) {
  setenv(name.c_str(), value.c_str(), /*overwrite=*/0);
}
#endif

// open(path: string): string | null, the reason of a failure.
Napi::Value Open(const Napi::CallbackInfo& info) {
  const std::string reason = OpenLibrary(info[0].As<Napi::String>());
  if (reason.empty()) return info.Env().Null();
  return Napi::String::New(info.Env(), reason);
}

// opened(name: string): string | null, where the process's library of that file name came from,
// whoever opened it: another thread, another copy of the package, another package.
Napi::Value Opened(const Napi::CallbackInfo& info) {
  const std::string path = FindOpened(info[0].As<Napi::String>());
  if (path.empty()) return info.Env().Null();
  return Napi::String::New(info.Env(), path);
}

// environment(name: string): string | null, the process's variable; a worker's process.env may say
// otherwise.
Napi::Value Environment(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>();
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return info.Env().Null();
  return Napi::String::New(info.Env(), value);
}

// setEnvironment(name: string, value: string): void, unless it is set; a worker's process.env never
// reaches C.
Napi::Value SetEnvironment(const Napi::CallbackInfo& info) {
  SetVariable(info[0].As<Napi::String>(), info[1].As<Napi::String>());
  return info.Env().Undefined();
}

// lock(fd: number): boolean | null, whether the advisory lock of the open file was free and is held
// now, until the file is closed; null where the file system has no such locks. Never waits.
Napi::Value Lock(const Napi::CallbackInfo& info) {
  const LockResult result = LockDescriptor(info[0].As<Napi::Number>().Int32Value());
  if (result == LockResult::kUnsupported) return info.Env().Null();
  return Napi::Boolean::New(info.Env(), result == LockResult::kHeld);
}

Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("open", Napi::Function::New<Open>(env, "open"));
  exports.Set("opened", Napi::Function::New<Opened>(env, "opened"));
  exports.Set("environment", Napi::Function::New<Environment>(env, "environment"));
  exports.Set("setEnvironment", Napi::Function::New<SetEnvironment>(env, "setEnvironment"));
  exports.Set("lock", Napi::Function::New<Lock>(env, "lock"));
  return exports;
}

NODE_API_MODULE(libtorch_loader, Initialize)

}  // namespace
