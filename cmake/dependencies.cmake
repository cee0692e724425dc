# SPDX-License-Identifier: Apache-2.0
# Everything that bellhop links and did not write. Why each one: docs/dependencies.md.

# BoringSSL, liburing and llhttp are built by tools/bootstrap, outside the build folder.
execute_process(COMMAND "${CMAKE_SOURCE_DIR}/tools/bootstrap" --prefix
                OUTPUT_VARIABLE bootstrap_prefix OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
set(BELLHOP_DEPS_PREFIX "${bootstrap_prefix}" CACHE PATH "folder made by tools/bootstrap")
if(NOT EXISTS "${BELLHOP_DEPS_PREFIX}/complete")
  message(FATAL_ERROR "the libraries in ${BELLHOP_DEPS_PREFIX} are missing or incomplete; run tools/bootstrap")
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)

add_library(deps_crypto STATIC IMPORTED)
set_target_properties(deps_crypto PROPERTIES IMPORTED_LOCATION "${BELLHOP_DEPS_PREFIX}/lib/libcrypto.a")
add_library(deps::ssl STATIC IMPORTED)
# BoringSSL's record buffers, in which it decrypts in place, come from plain malloc and are freed unwiped. Bound to
# OPENSSL_malloc they come from our wiping pools (core/tls/memory.h) like everything else. No other file of libssl
# names malloc or free.
set(pooled_ssl "${CMAKE_BINARY_DIR}/deps/libssl.a")
file(MAKE_DIRECTORY "${CMAKE_BINARY_DIR}/deps")
execute_process(COMMAND "${CMAKE_OBJCOPY}" --redefine-sym malloc=OPENSSL_malloc --redefine-sym free=OPENSSL_free
                        "${BELLHOP_DEPS_PREFIX}/lib/libssl.a" "${pooled_ssl}" COMMAND_ERROR_IS_FATAL ANY)
set_target_properties(deps::ssl PROPERTIES IMPORTED_LOCATION "${pooled_ssl}")
target_include_directories(deps::ssl BEFORE INTERFACE "${BELLHOP_DEPS_PREFIX}/include")
target_link_libraries(deps::ssl INTERFACE deps_crypto Threads::Threads)

add_library(deps::uring STATIC IMPORTED)
set_target_properties(deps::uring PROPERTIES IMPORTED_LOCATION "${BELLHOP_DEPS_PREFIX}/lib/liburing.a")
target_include_directories(deps::uring BEFORE INTERFACE "${BELLHOP_DEPS_PREFIX}/include")

set(llhttp_source "${BELLHOP_DEPS_PREFIX}/src/llhttp")
add_library(deps_llhttp STATIC "${llhttp_source}/api.c" "${llhttp_source}/http.c" "${llhttp_source}/llhttp.c")
target_include_directories(deps_llhttp SYSTEM PUBLIC "${llhttp_source}")
target_compile_options(deps_llhttp PRIVATE -O3 -w)
add_library(deps::llhttp ALIAS deps_llhttp)

pkg_check_modules(nghttp2 REQUIRED IMPORTED_TARGET libnghttp2)
add_library(deps::nghttp2 ALIAS PkgConfig::nghttp2)
pkg_check_modules(expat REQUIRED IMPORTED_TARGET expat)
add_library(deps::expat ALIAS PkgConfig::expat)
pkg_check_modules(cares REQUIRED IMPORTED_TARGET libcares)
add_library(deps::cares ALIAS PkgConfig::cares)
find_package(ZLIB REQUIRED)
add_library(deps::zlib ALIAS ZLIB::ZLIB)
find_package(simdjson REQUIRED)
add_library(deps::simdjson ALIAS simdjson::simdjson)
find_library(lmdb_library lmdb REQUIRED)
find_path(lmdb_include lmdb.h REQUIRED)
add_library(deps_lmdb INTERFACE)
target_link_libraries(deps_lmdb INTERFACE "${lmdb_library}")
target_include_directories(deps_lmdb INTERFACE "${lmdb_include}")
add_library(deps::lmdb ALIAS deps_lmdb)
find_path(tomlplusplus_include toml++/toml.h REQUIRED)
add_library(deps_tomlplusplus INTERFACE)
target_include_directories(deps_tomlplusplus SYSTEM INTERFACE "${tomlplusplus_include}")
add_library(deps::tomlplusplus ALIAS deps_tomlplusplus)
# Headers alone: the library is loaded where Kerberos is configured (service/gss_api.h).
find_path(gssapi_include gssapi/gssapi_krb5.h REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
if(BELLHOP_MIMALLOC)
  find_package(mimalloc REQUIRED)
endif()
