// A regular file that is read at positions and never mapped, so that a truncated file gives an
// error and not a signal. Thread: any; reads do not share a position.
#pragma once

#include <cstdint>
#include <string>

namespace latent_diffusion {

class RandomAccessFile {
 public:
  // Throws ERR_CHECKPOINT_NOT_FOUND; or ERR_IO if it is not a regular file or may not be read.
  explicit RandomAccessFile(const std::string& path);
  RandomAccessFile(const RandomAccessFile&) = delete;
  RandomAccessFile& operator=(const RandomAccessFile&) = delete;
  ~RandomAccessFile();

  // The size in bytes when the file was opened.
  uint64_t size() const { return size_; }

  // Fills `data`. Throws ERR_CHECKPOINT_INVALID if the file ends earlier, ERR_IO if the system
  // refuses.
  void Read(uint64_t offset, uint64_t length, void* data) const;

 private:
  std::string path_;
  uint64_t size_ = 0;
#ifdef _WIN32
  void* handle_ = nullptr;
#else
  int descriptor_ = -1;
#endif
};

}  // namespace latent_diffusion
