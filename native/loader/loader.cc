// The tiny addon that opens LibTorch by absolute path before the real addon is loaded, whose
// references are then met by SONAME. It links nothing, so that it always loads and can say what is
// wrong. Runs on the calling JavaScript thread.

#include <napi.h>

#include <cstdlib>
#include <string>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <dlfcn.h>
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

// setEnvironment(name: string, value: string): void, unless it is set; a worker's process.env never
// reaches C.
Napi::Value SetEnvironment(const Napi::CallbackInfo& info) {
  SetVariable(info[0].As<Napi::String>(), info[1].As<Napi::String>());
  return info.Env().Undefined();
}

Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("open", Napi::Function::New<Open>(env, "open"));
  exports.Set("setEnvironment", Napi::Function::New<SetEnvironment>(env, "setEnvironment"));
  return exports;
}

NODE_API_MODULE(libtorch_loader, Initialize)

}  // namespace
