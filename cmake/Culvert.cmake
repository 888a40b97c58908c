# SPDX-License-Identifier: Apache-2.0
# The verbs of the build: culvert_folder, culvert_program, culvert_unit_test, culvert_fuzz.

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

option(CULVERT_SANITIZE "build with ASan and UBSan" OFF)
option(CULVERT_FUZZ "build the fuzz entries with libFuzzer (needs clang)" OFF)

find_package(PkgConfig REQUIRED)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium>=1.0.18)
pkg_check_modules(EVENT REQUIRED IMPORTED_TARGET libevent_core>=2.1.12)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson>=2.13)
pkg_check_modules(FYAML REQUIRED IMPORTED_TARGET libfyaml>=0.7)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl>=7.85)
pkg_check_modules(OPENSSL REQUIRED IMPORTED_TARGET openssl>=3.0)
pkg_check_modules(SYSTEMD REQUIRED IMPORTED_TARGET libsystemd>=245)
pkg_check_modules(NGHTTP2 REQUIRED IMPORTED_TARGET libnghttp2>=1.52)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8>=10.42)

# A program with the property CULVERT_ARCHIVES takes the archives of these in place of the shared libraries.
foreach(lib SODIUM EVENT JANSSON FYAML NGHTTP2 PCRE2)
	list(GET ${lib}_LIBRARIES 0 name)
	find_library(CULVERT_ARCHIVE_${lib} lib${name}.a)
	get_target_property(shared PkgConfig::${lib} INTERFACE_LINK_LIBRARIES)
	if(CULVERT_ARCHIVE_${lib})
		set_target_properties(PkgConfig::${lib} PROPERTIES INTERFACE_LINK_LIBRARIES
			"$<IF:$<BOOL:$<TARGET_PROPERTY:CULVERT_ARCHIVES>>,${CULVERT_ARCHIVE_${lib}},${shared}>")
	endif()
endforeach()

add_library(culvert_flags INTERFACE)
target_include_directories(culvert_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(culvert_flags INTERFACE _GNU_SOURCE CULVERT_VERSION="${PROJECT_VERSION}")
target_compile_options(culvert_flags INTERFACE -Wall -Wextra -Wshadow -Wconversion
	-Wstrict-prototypes -Wvla -Wmissing-prototypes -Werror=implicit-function-declaration
	-fno-strict-aliasing -fno-common)

add_library(culvert_sanitize INTERFACE)
if(CULVERT_SANITIZE)
	target_compile_options(culvert_sanitize INTERFACE -fsanitize=address,undefined
		-fno-sanitize-recover=undefined -fno-omit-frame-pointer)
	target_link_options(culvert_sanitize INTERFACE -fsanitize=address,undefined)
else()
	target_compile_options(culvert_sanitize INTERFACE -fstack-protector-strong
		-fstack-clash-protection -fcf-protection)
	target_compile_definitions(culvert_sanitize INTERFACE
		$<$<NOT:$<CONFIG:Debug>>:_FORTIFY_SOURCE=2>)
	target_link_options(culvert_sanitize INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
endif()
if(CULVERT_FUZZ)
	target_compile_options(culvert_sanitize INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_link_libraries(culvert_flags INTERFACE culvert_sanitize)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported()

# culvert_folder(NAME [DEPS folder...] [LIBS target...]): all .c files of the folder become one library.
function(culvert_folder name)
	cmake_parse_arguments(arg "" "" "DEPS;LIBS" ${ARGN})
	file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${name}/*.c)
	if(NOT sources)
		add_library(culvert_${name} INTERFACE)
		return()
	endif()
	add_library(culvert_${name} STATIC ${sources})
	set(deps ${arg_DEPS})
	list(TRANSFORM deps PREPEND culvert_)
	target_link_libraries(culvert_${name} PUBLIC culvert_flags ${deps} ${arg_LIBS})
endfunction()

# culvert_libcrypto(NAME FUNCTION...): these functions, which libcrypto.so keeps to itself, and what they need, out of libcrypto.a
# into the library NAME. They are all that can be seen of it, so a program may be linked with libcrypto.so as well.
find_library(CULVERT_ARCHIVE_LIBCRYPTO libcrypto.a)
function(culvert_libcrypto name)
	if(NOT CULVERT_ARCHIVE_LIBCRYPTO OR NOT CMAKE_LINKER OR NOT CMAKE_OBJCOPY)
		message(STATUS "No libcrypto.a, ld or objcopy: ${name} is left to slower routines")
		return()
	endif()
	set(object ${CMAKE_BINARY_DIR}/${name}-libcrypto.o)
	list(TRANSFORM ARGN PREPEND --undefined= OUTPUT_VARIABLE wanted)
	list(TRANSFORM ARGN PREPEND --keep-global-symbol= OUTPUT_VARIABLE seen)
	add_custom_command(OUTPUT ${object} DEPENDS ${CULVERT_ARCHIVE_LIBCRYPTO} VERBATIM
		COMMAND ${CMAKE_LINKER} -r -o ${object} ${wanted} ${CULVERT_ARCHIVE_LIBCRYPTO}
		COMMAND ${CMAKE_OBJCOPY} ${seen} ${object})
	set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
	target_sources(culvert_${name} PRIVATE ${object})
	target_compile_definitions(culvert_${name} PUBLIC CULVERT_LIBCRYPTO)
endfunction()

# culvert_program(NAME SOURCE [STATIC|ARCHIVES] DEPS folder...). STATIC: without shared libraries, for a container with nothing
# else in it; the sanitizers cannot be linked so. ARCHIVES: without those that we have archives of.
function(culvert_program name source)
	cmake_parse_arguments(arg "STATIC;ARCHIVES" "" "DEPS" ${ARGN})
	if(NOT EXISTS ${CMAKE_SOURCE_DIR}/${source})
		return()
	endif()
	add_executable(${name} ${source})
	set(deps ${arg_DEPS})
	list(TRANSFORM deps PREPEND culvert_)
	target_link_libraries(${name} PRIVATE culvert_flags ${deps})
	if((arg_STATIC OR arg_ARCHIVES) AND NOT CULVERT_SANITIZE)
		set_target_properties(${name} PROPERTIES CULVERT_ARCHIVES ON)
	endif()
	if(arg_ARCHIVES AND NOT CULVERT_SANITIZE)
		target_link_options(${name} PRIVATE -Wl,--gc-sections) # of the archives, what nobody calls
	endif()
	if(CULVERT_SANITIZE)
		target_sources(${name} PRIVATE main/sanitizer.c)
	elseif(arg_STATIC)
		set_property(TARGET ${name} PROPERTY POSITION_INDEPENDENT_CODE) # its -pie would win
		target_compile_options(${name} PRIVATE -fPIE)
		target_sources(${name} PRIVATE main/no-names.c)
		target_link_options(${name} PRIVATE -static-pie)
	endif()
endfunction()

# culvert_manifests(NAME): the folder's manifests, one behind the other, for embed.c to include (by the assembler, whose symbols
# link-time optimization does not see).
function(culvert_manifests name)
	file(GLOB manifests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${name}/manifests/*.yaml)
	list(SORT manifests)
	set(all ${CMAKE_BINARY_DIR}/${name}-manifests.yaml)
	add_custom_command(OUTPUT ${all} DEPENDS ${manifests} VERBATIM
		COMMAND sh -c "for f; do echo ---; cat \"$f\"; done >\"$0\"" ${all} ${manifests})
	set_source_files_properties(${CMAKE_SOURCE_DIR}/${name}/embed.c PROPERTIES
		OBJECT_DEPENDS ${all} COMPILE_OPTIONS -fno-lto COMPILE_DEFINITIONS "DEPLOY_MANIFESTS=\"${all}\"")
endfunction()

# culvert_assets(NAME FROM): the files of the folder FROM inside the library NAME, as its assets.c lists them (by the assembler, as
# above).
function(culvert_assets name from)
	file(GLOB assets CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${from}/*.html ${CMAKE_SOURCE_DIR}/${from}/*.css ${CMAKE_SOURCE_DIR}/${from}/*.js)
	set(text "/* Made by CMake: the files of ${from}/. */\n")
	set(n 0)
	foreach(asset ${assets})
		get_filename_component(file ${asset} NAME)
		string(APPEND text "ASSET(${n}, \"${file}\", \"${asset}\")\n")
		math(EXPR n "${n} + 1")
	endforeach()
	file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/${name}-assets.inc CONTENT "${text}" @ONLY)
	set_source_files_properties(${CMAKE_SOURCE_DIR}/${name}/assets.c PROPERTIES
		OBJECT_DEPENDS "${assets}" COMPILE_OPTIONS -fno-lto COMPILE_DEFINITIONS "GATEWAY_ASSETS=\"${CMAKE_BINARY_DIR}/${name}-assets.inc\"")
endfunction()
