#include "checkpoint/checkpoint_writer.h"

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <system_error>

#include "checkpoint/host_tensor.h"
#include "error/coded_error.h"

#ifdef _WIN32
#include <io.h>
#else
#include <unistd.h>
#endif

namespace latent_diffusion {
namespace {

[[noreturn]] void ThrowSystem(const std::string& path) {
  throw CodedError("ERR_IO", path + ": " + std::generic_category().message(errno));
}

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

File Create(const std::string& path) {
#ifdef _WIN32
  return File(_wfopen(std::filesystem::u8path(path).wstring().c_str(), L"wbx"));
#else
  return File(std::fopen(path.c_str(), "wbx"));
#endif
}

bool Synchronize(std::FILE* file) {
#ifdef _WIN32
  return std::fflush(file) == 0 && _commit(_fileno(file)) == 0;
#else
  return std::fflush(file) == 0 && fsync(fileno(file)) == 0;
#endif
}

}  // namespace

void WriteCheckpoint(const std::string& path, const std::vector<uint8_t>& header,
                     const std::vector<Weight>& weights, std::optional<c10::ScalarType> dtype) {
  const File file = Create(path);
  if (!file) ThrowSystem(path);
  const auto write = [&](const void* data, size_t length) {
    if (length > 0 && std::fwrite(data, 1, length, file.get()) != length) ThrowSystem(path);
  };
  write(header.data(), header.size());
  for (const Weight& weight : weights) {
    at::Tensor tensor = ToHost(LoadWeight(weight, Address::kAligned));
    if (dtype && tensor.is_floating_point()) tensor = tensor.to(*dtype);
    write(tensor.const_data_ptr(), tensor.nbytes());
  }
  if (!Synchronize(file.get())) ThrowSystem(path);
}

}  // namespace latent_diffusion
