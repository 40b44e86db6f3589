// The tiny addon that opens LibTorch by absolute path before the real addon is loaded, whose
// references are then met by SONAME; and that knows whether the process has one already. It links
// nothing, so that it always loads and can say what is wrong. Runs on the calling JavaScript
// thread.

#include <napi.h>

#include <cstdlib>
#include <string>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <dlfcn.h>
#endif
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#elif !defined(_WIN32)
#include <link.h>
#endif

namespace {

#ifdef _WIN32
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

Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("open", Napi::Function::New<Open>(env, "open"));
  exports.Set("opened", Napi::Function::New<Opened>(env, "opened"));
  exports.Set("environment", Napi::Function::New<Environment>(env, "environment"));
  exports.Set("setEnvironment", Napi::Function::New<SetEnvironment>(env, "setEnvironment"));
  return exports;
}

NODE_API_MODULE(libtorch_loader, Initialize)

}  // namespace
