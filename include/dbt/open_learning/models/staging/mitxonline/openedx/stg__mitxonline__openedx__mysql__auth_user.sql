select
  id as openedx_user_id,
  username as openedx_username,
  email as user_email,
  nullif(trim(first_name || ' ' || last_name), '') as user_full_name,
  is_active as user_is_active,
  date_joined as user_joined_on
from {{ source('ol_warehouse_raw_data', 'raw__mitxonline__openedx__mysql__auth_user') }}
