#version 300 es
// Copies texels, each to the pixel of its own place.

precision highp float;
precision highp sampler2D;

uniform sampler2D from;

out vec4 colour;

void main() {
    colour = texelFetch(from, ivec2(gl_FragCoord.xy), 0);
}
