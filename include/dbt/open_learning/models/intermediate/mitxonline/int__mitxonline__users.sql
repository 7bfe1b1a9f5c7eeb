-- Two applications' accounts may name one account at Open edX; that one then belongs to both.
select
  users.user_id,
  users.user_username,
  users.user_email,
  {{ email_identity('users.user_email') }} as user_email_identity,
  users.user_full_name,
  users.user_global_id,
  users.user_is_active,
  users.user_joined_on,
  users.user_last_login,
  addresses.user_address_country,
  openedx_names.openedx_username,
  openedx_users.openedx_user_id
from {{ ref('stg__mitxonline__app__postgres__users_user') }} as users
left join {{ ref('stg__mitxonline__app__postgres__users_legaladdress') }} as addresses on addresses.user_id = users.user_id
left join {{ ref('stg__mitxonline__app__postgres__openedx_openedxuser') }} as openedx_names on openedx_names.user_id = users.user_id
left join {{ ref('stg__mitxonline__openedx__mysql__auth_user') }} as openedx_users on openedx_users.openedx_username = openedx_names.openedx_username
