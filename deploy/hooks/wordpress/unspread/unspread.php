<?php
/**
 * Plugin Name:       Unspread
 * Description:       Asks your Unspread platform kit about every uploaded picture and video before WordPress keeps it.
 * Version:           0.1.0
 * Requires at least: 5.9
 * Requires PHP:      7.4
 * License:           Apache-2.0
 *
 * Configure in wp-config.php:
 *   define( 'UNSPREAD_URL', 'http://127.0.0.1:8080' );
 *   define( 'UNSPREAD_KEY_FILE', '/etc/unspread/wordpress.key' );
 *   define( 'UNSPREAD_WHEN_UNAVAILABLE', 'refuse' );   // or 'accept'
 *
 * Hooks: https://developer.wordpress.org/reference/hooks/wp_handle_upload_prefilter/ and its twin
 * for sideloads. An upload is refused by a text in $file['error'].
 */

defined( 'ABSPATH' ) || exit;

/** What an HTTP status of /scan means: 'keep', 'refuse' or 'not checked'. */
function unspread_outcome( int $status ): string {
	if ( $status >= 200 && $status < 300 ) {
		return 'keep';
	}
	return in_array( $status, array( 406, 409, 422 ), true ) ? 'refuse' : 'not checked';
}

/** Whether a file is one that the kit can look at, by its first bytes: never by its name. */
function unspread_is_media( string $path ): bool {
	$type = function_exists( 'mime_content_type' ) ? (string) mime_content_type( $path ) : 'image/';
	return 0 === strpos( $type, 'image/' ) || 0 === strpos( $type, 'video/' );
}

/** Asks the kit about a file; the status of its answer, 0 if there was none. */
function unspread_scan( string $path ): int {
	if ( ! defined( 'UNSPREAD_URL' ) || ! defined( 'UNSPREAD_KEY_FILE' ) ) {
		return 0;
	}
	$key = is_readable( UNSPREAD_KEY_FILE ) ? trim( (string) file_get_contents( UNSPREAD_KEY_FILE ) ) : '';
	$answer = wp_remote_post(
		rtrim( UNSPREAD_URL, '/' ) . '/scan',
		array(
			'timeout'     => 60,
			'redirection' => 0,
			'headers'     => array(
				'Authorization' => 'Bearer ' . $key,
				'Content-Type'  => 'application/octet-stream',
			),
			'body'        => file_get_contents( $path ),
		)
	);
	return is_wp_error( $answer ) ? 0 : (int) wp_remote_retrieve_response_code( $answer );
}

/** The upload as WordPress gave it, with an error if it may not be kept. */
function unspread_prefilter( array $file ): array {
	if ( ! empty( $file['error'] ) || empty( $file['tmp_name'] ) || ! unspread_is_media( $file['tmp_name'] ) ) {
		return $file;
	}
	$outcome = unspread_outcome( unspread_scan( $file['tmp_name'] ) );
	if ( 'refuse' === $outcome ) {
		$file['error'] = __( 'This cannot be uploaded: it matches a picture or video that somebody asked to be protected, or it cannot be read.', 'unspread' );
	} elseif ( 'not checked' === $outcome ) {
		error_log( 'unspread: an upload was not checked, the platform kit did not answer' );
		if ( ! defined( 'UNSPREAD_WHEN_UNAVAILABLE' ) || 'accept' !== UNSPREAD_WHEN_UNAVAILABLE ) {
			$file['error'] = __( 'The check of uploads is not available. Try again later.', 'unspread' );
		}
	}
	return $file;
}

add_filter( 'wp_handle_upload_prefilter', 'unspread_prefilter' );
add_filter( 'wp_handle_sideload_prefilter', 'unspread_prefilter' );
