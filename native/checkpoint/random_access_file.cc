#include "checkpoint/random_access_file.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "error/coded_error.h"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <filesystem>
#else
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace latent_diffusion {
namespace {

// The most that one read asks for: Linux limits a read to a little under 2 GiB, Windows to 4 GiB.
constexpr uint64_t kLargestRead = uint64_t{1} << 30;

[[noreturn]] void ThrowSystem(const std::string& path, int code) {
  const std::string reason = std::system_category().message(code);
#ifdef _WIN32
  const bool missing = code == ERROR_FILE_NOT_FOUND || code == ERROR_PATH_NOT_FOUND;
#else
  const bool missing = code == ENOENT || code == ENOTDIR;
#endif
  throw CodedError(missing ? "ERR_CHECKPOINT_NOT_FOUND" : "ERR_IO", path + ": " + reason);
}

[[noreturn]] void ThrowCutShort(const std::string& path) {
  throw CodedError("ERR_CHECKPOINT_INVALID",
                   path + ": the file ends before the data that it announces");
}

}  // namespace

#ifdef _WIN32

RandomAccessFile::RandomAccessFile(const std::string& path) : path_(path) {
  const std::wstring wide = std::filesystem::u8path(path).wstring();
  handle_ = CreateFileW(wide.c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, nullptr,
                        OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
  if (handle_ == INVALID_HANDLE_VALUE) ThrowSystem(path, static_cast<int>(GetLastError()));
  LARGE_INTEGER size;
  if (GetFileType(handle_) != FILE_TYPE_DISK || !GetFileSizeEx(handle_, &size)) {
    CloseHandle(handle_);
    throw CodedError("ERR_IO", path + ": not a regular file");
  }
  size_ = static_cast<uint64_t>(size.QuadPart);
}

RandomAccessFile::~RandomAccessFile() { CloseHandle(handle_); }

void RandomAccessFile::Read(uint64_t offset, uint64_t length, void* data) const {
  auto* bytes = static_cast<char*>(data);
  while (length > 0) {
    OVERLAPPED position = {};
    position.Offset = static_cast<DWORD>(offset);
    position.OffsetHigh = static_cast<DWORD>(offset >> 32);
    DWORD count = 0;
    if (!ReadFile(handle_, bytes, static_cast<DWORD>(std::min(length, kLargestRead)), &count,
                  &position)) {
      const DWORD code = GetLastError();
      if (code == ERROR_HANDLE_EOF) ThrowCutShort(path_);
      ThrowSystem(path_, static_cast<int>(code));
    }
    if (count == 0) ThrowCutShort(path_);
    bytes += count;
    offset += count;
    length -= count;
  }
}

#else

RandomAccessFile::RandomAccessFile(const std::string& path) : path_(path) {
  // Non-blocking: opening a FIFO would otherwise wait for a writer for ever.
  descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) ThrowSystem(path, errno);
  struct stat status = {};
  if (fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(descriptor_);
    throw CodedError("ERR_IO", path + ": not a regular file");
  }
  size_ = static_cast<uint64_t>(status.st_size);
}

RandomAccessFile::~RandomAccessFile() { close(descriptor_); }

void RandomAccessFile::Read(uint64_t offset, uint64_t length, void* data) const {
  auto* bytes = static_cast<char*>(data);
  while (length > 0) {
    const ssize_t count =
        pread(descriptor_, bytes, std::min(length, kLargestRead), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) ThrowSystem(path_, errno);
    if (count == 0) ThrowCutShort(path_);
    bytes += count;
    offset += static_cast<uint64_t>(count);
    length -= static_cast<uint64_t>(count);
  }
}

#endif

}  // namespace latent_diffusion
