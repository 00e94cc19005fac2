#include "base/sha256.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace zo2 {

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(evp); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  ZO2_ASSERT(EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() = default;

void Sha256::update(const void* data, size_t bytes) { ZO2_ASSERT(EVP_DigestUpdate(context_->evp, data, bytes) == 1); }

std::string Sha256::hex_digest() {
  unsigned char digest[32];
  ZO2_ASSERT(EVP_DigestFinal_ex(context_->evp, digest, nullptr) == 1);
  std::string hex;
  for (unsigned char byte : digest) hex += fmt::format("{:02x}", byte);
  return hex;
}

std::string sha256_hex(std::string_view text) {
  Sha256 hash;
  hash.update(text.data(), text.size());
  return hash.hex_digest();
}

std::string sha256_hex_of_file(const std::filesystem::path& path) {
  File file = File::open_for_reading(path);
  Sha256 hash;
  std::vector<char> buffer(1 << 20);
  ssize_t count = 0;
  while ((count = ::read(file.descriptor(), buffer.data(), buffer.size())) > 0) {
    hash.update(buffer.data(), static_cast<size_t>(count));
  }
  ZO2_CHECK(count == 0, IoError, "cannot read {}", path.string());
  return hash.hex_digest();
}

}  // namespace zo2
