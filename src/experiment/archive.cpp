#include "experiment/archive.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>

#include "base/error.h"
#include "base/json.h"

namespace zo2 {
namespace {

constexpr size_t kBlock = 512;
constexpr int kGzipFormat = 15 + 16;  // the largest window, with gzip's header instead of zlib's
constexpr int kZstdLevel = 19;        // seconds for tens of megabytes; unpacking is as fast as at any level

struct TarHeader {
  char name[100];
  char mode[8];
  char user[8];
  char group[8];
  char size[12];
  char time[12];
  char checksum[8];
  char type;
  char link[100];
  char magic[6];
  char version[2];
  char user_name[32];
  char group_name[32];
  char device_major[8];
  char device_minor[8];
  char prefix[155];
  char padding[12];
};
static_assert(sizeof(TarHeader) == kBlock);

void put(char* field, std::string_view text) { std::ranges::copy(text, field); }

std::string zstd(std::string_view bytes) {
  std::string packed(ZSTD_compressBound(bytes.size()), '\0');
  const size_t size = ZSTD_compress(packed.data(), packed.size(), bytes.data(), bytes.size(), kZstdLevel);
  ZO2_ASSERT(!ZSTD_isError(size));
  packed.resize(size);
  return packed;
}

}  // namespace

std::string gzip(std::string_view bytes) {
  ZO2_CHECK(bytes.size() <= std::numeric_limits<uInt>::max(), UsageError, "{} bytes are more than gzip takes at once",
            bytes.size());
  z_stream stream{};
  ZO2_ASSERT(deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, kGzipFormat, 9, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string packed(deflateBound(&stream, bytes.size()), '\0');
  std::string input(bytes);  // zlib's interface wants to be able to write
  stream.next_in = reinterpret_cast<Bytef*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  const int code = deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  ZO2_ASSERT(code == Z_STREAM_END);
  return packed;
}

std::string read_gzip(const std::filesystem::path& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  ZO2_CHECK(file, IoError, "cannot read {}", path.string());
  std::string text;
  std::array<char, 1 << 16> buffer;
  int got = 0;
  while ((got = gzread(file.get(), buffer.data(), buffer.size())) > 0)
    text.append(buffer.data(), static_cast<size_t>(got));
  int code = Z_OK;
  const char* reason = gzerror(file.get(), &code);
  ZO2_CHECK(got == 0 && code == Z_OK, IoError, "cannot read {}: {}", path.string(), reason);
  return text;
}

void TarArchive::add(const std::string& name, std::string_view bytes) {
  TarHeader header{};
  size_t cut = 0;  // where the name behind the prefix begins
  if (name.size() > sizeof header.name) {
    cut = name.find('/', name.size() - sizeof header.name - 1) + 1;
    ZO2_CHECK(cut > 1 && cut - 1 <= sizeof header.prefix, UsageError, "'{}' is too long a name for a tar archive",
              name);
    put(header.prefix, name.substr(0, cut - 1));
  }
  put(header.name, name.substr(cut));
  put(header.mode, "0000644");
  put(header.user, "0000000");
  put(header.group, "0000000");
  put(header.size, fmt::format("{:011o}", bytes.size()));
  put(header.time, "00000000000");
  put(header.checksum, "        ");  // counts as spaces in the sum
  header.type = '0';
  put(header.magic, "ustar");
  put(header.version, "00");
  std::array<unsigned char, kBlock> raw;
  std::memcpy(raw.data(), &header, kBlock);
  unsigned sum = 0;
  for (unsigned char byte : raw) sum += byte;
  put(header.checksum, fmt::format("{:06o}", sum));
  header.checksum[6] = '\0';
  bytes_.append(reinterpret_cast<const char*>(&header), kBlock);
  bytes_ += bytes;
  bytes_.append((kBlock - bytes.size() % kBlock) % kBlock, '\0');
}

void TarArchive::write(const std::filesystem::path& path) const {
  const std::string name = path.filename().string();
  const bool zst = name.ends_with(".tar.zst");
  ZO2_CHECK(zst || name.ends_with(".tar.gz"), UsageError, "{}: name the archive .tar.gz or .tar.zst", path.string());
  const std::string whole = bytes_ + std::string(2 * kBlock, '\0');
  write_file_atomically(path, zst ? zstd(whole) : gzip(whole));
}

}  // namespace zo2
