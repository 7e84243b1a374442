#version 300 es
#extension GL_OES_EGL_image_external_essl3 : require
// Copies an external texture, each texel to the pixel of its own place.

precision highp float;

uniform samplerExternalOES from;
// `textureSize` of it crashes llvmpipe.
uniform vec2 size;

out vec4 colour;

void main() {
    colour = texture(from, gl_FragCoord.xy / size);
}
